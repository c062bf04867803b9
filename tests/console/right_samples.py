"""Samples of rights: people with their roles, groups, access roles, shares, and why somebody may."""

from __future__ import annotations

from typing import Any

import limit_samples

from luhyaapi.contracts.vocabulary import Kind, Verb

_AT = 1_800_000_000.0
ALL = {str(verb): True for verb in Verb}
NOTHING = dict.fromkeys(ALL, False)


def able(*, admin: bool) -> dict[str, dict[str, bool]]:
    """What an administrator can do, or a plain user."""
    plain = {"image": NOTHING | {"read": True, "execute": True}, "instance": NOTHING | {"create": True}}
    return {str(kind): ALL if admin else plain.get(str(kind), NOTHING) for kind in Kind}


PEOPLE = [
    {"username": "admin", "role": "superAdm", "group": "everybody", "active": True, "instances": 3, "last_login_at": _AT},
    {"username": "tina", "role": "powerAdm", "group": "edu.school.class1", "active": True, "instances": 1, "last_login_at": _AT},
    {"username": "student-07", "role": "user", "group": "edu.school.class1", "active": False, "instances": 0, "last_login_at": None},
]
CHOICES: dict[str, Any] = {
    "roles": ["user", "powerUser", "powerAdm", "superAdm", "watcher"], "known_roles": ["user", "watcher"], "home_group": "everybody",
    "group_paths": ["everybody", "edu", "edu.school", "edu.school.class1"],
}
_ASK: dict[str, Any] = {"asked": {"kind": "", "subject": "", "verb": ""}, "kinds": (Kind.IMAGE, Kind.INSTANCE), "verbs": (Verb.READ, Verb.DELETE)}
REASONS = [
    {"by": "admin", "role": "", "at": "everybody", "verb": ""}, {"by": "owner", "role": "", "at": "everybody", "verb": ""},
    {"by": "role", "role": "powerAdm", "at": "edu.school", "verb": Verb.FULL}, {"by": "share", "role": "", "at": "edu.school.class1", "verb": Verb.READ},
]
WHY = _ASK | {"asked": {"kind": "image", "subject": "office", "verb": "read"},
              "answer": {"allowed": True, "reasons": REASONS, "why_not": "", "verb": Verb.READ, "name": "office"}}
WHY_NOT = _ASK | {"answer": {"allowed": False, "reasons": [], "why_not": "you have read of it, and not delete", "verb": Verb.DELETE, "name": "office"}}
PERSON: dict[str, Any] = {
    "person": {"username": "student-07", "role": "user", "group": "edu.school.class1", "instances": 2, "last_login_at": None, "created_at": _AT,
               "active": True, "password_change": True, "second_step": True, "locked_until": "2027-01-15T08:00:00Z"},
    "may": ALL, "why": WHY, **CHOICES, **limit_samples.QUOTAS, **limit_samples.ENDS,
    "grants": [{"id": "gra-00000001", "user": "student-07", "role": "watcher", "group": "edu.school", "created_at": _AT}],
}
_MANY = {"people": 30, "instances": 28, "images": 2}
GROUPS: dict[str, Any] = {**CHOICES, "begun": "", "filters": {}, "rows": [
    {"id": "grp-00000000", "path": "everybody", "people": 2, "instances": 3, "images": 4}, {"id": "grp-00000001", "path": "edu.school.class1", **_MANY},
]}
GROUP: dict[str, Any] = {
    **CHOICES, **limit_samples.QUOTAS, **limit_samples.ENDS,
    "group": {"id": "grp-00000001", "path": "edu.school.class1", "created_at": _AT}, "many": _MANY, "may": ALL, "is_everybody": False,
    "people": [{"username": "tina", "access_role_id": "powerAdm"}, {"username": "student-07", "access_role_id": "user"}],
    "over": [
        {"people": 1, "names": ["head"], "role": "watcher", "group": "edu", "given": True},
        {"people": 29, "names": ["student-01", "student-02"], "role": "user", "group": "edu.school.class1", "given": False},
    ],
    "below": [{"id": "grp-00000002", "path": "edu.school.class1.left"}], "command": "educloud group show edu.school.class1",
}


def matrix(full: Kind) -> list[dict[str, Any]]:
    """What a role gives that has one kind whole."""
    return [{"kind": kind, "cells": [{"verb": verb, "name": f"{kind}:{verb}", "on": verb is Verb.READ or (kind is full and verb is Verb.FULL),
                                      "implied": kind is full} for verb in Verb]} for kind in Kind]


_ROLE = {"name": "watcher", "ready_made": False, "description": "looks on", "people": 3}
ROLES: dict[str, Any] = {"verbs": list(Verb), "matrix": matrix(Kind.IMAGE), "rows": [
    {"name": "powerAdm", "ready_made": True, "description": "", "people": 2, "given": [{"kind": kind, "verbs": [Verb.FULL]} for kind in Kind]},
    _ROLE | {"given": [{"kind": Kind.INSTANCE, "verbs": [Verb.READ, Verb.EXECUTE]}]}, _ROLE | {"name": "empty", "description": "", "given": []},
]}
ROLE: dict[str, Any] = {
    "role": _ROLE, "verbs": list(Verb), "matrix": matrix(Kind.IMAGE), "may_change": True, "command": "educloud access-role give watcher USER PATH",
    "holders": [{"username": "tina", "group": "edu.school", "given": True}, {"username": "student-07", "group": "everybody", "given": False}],
}
SHARING: dict[str, Any] = {
    "shares": [
        {"id": "shr-00000001", "verb": Verb.READ, "with": "everybody", "is_group": True},
        {"id": "shr-00000002", "verb": Verb.EXECUTE, "with": "student-07", "is_group": False},
    ],
    "share_at": "/images/img-5e20b101/shares/add/", "who_at": "/images/img-5e20b101/shares/who/", "unshare": "image_unshare", "of": "img-5e20b101",
    "group": "edu.longyou", "group_paths": CHOICES["group_paths"],
}
WHO: dict[str, Any] = {
    "rows": [{"username": "admin", "is_managed": False, "reasons": REASONS[:1]}, {"username": "tina", "is_managed": True, "reasons": REASONS[1:]}],
    "name": "office", "at": "/images/img-5e20b101/", "kind": Kind.IMAGE, "verb": Verb.READ, "verbs": (Verb.READ, Verb.WRITE, Verb.EXECUTE, Verb.DELETE),
    "command": "educloud permission who read image office",
}
