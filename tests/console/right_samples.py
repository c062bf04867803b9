"""Samples of rights: people with their roles, groups, access roles, shares, and why somebody may."""

from __future__ import annotations

from typing import Any

from luhyaapi.contracts.vocabulary import Kind, Verb

_AT = 1_800_000_000.0
ALL = {str(verb): True for verb in Verb}
NOTHING = dict.fromkeys(ALL, False)


def able(*, admin: bool) -> dict[str, dict[str, bool]]:
    """What an administrator can do, or a plain user."""
    plain = {"image": NOTHING | {"read": True, "execute": True}, "instance": NOTHING | {"create": True}}
    return {str(kind): ALL if admin else plain.get(str(kind), NOTHING) for kind in Kind}


PEOPLE = [
    {"username": "admin", "role": "superAdm", "group": "everybody", "instances": 3, "last_login_at": _AT},
    {"username": "tina", "role": "powerAdm", "group": "edu.school.class1", "instances": 1, "last_login_at": _AT},
    {"username": "student-07", "role": "user", "group": "edu.school.class1", "instances": 0, "last_login_at": None},
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
    "person": {"username": "student-07", "role": "user", "group": "edu.school.class1", "instances": 2, "last_login_at": None, "created_at": _AT},
    "may": ALL, "why": WHY, **CHOICES,
    "grants": [{"id": "gra-00000001", "user": "student-07", "role": "watcher", "group": "edu.school", "created_at": _AT}],
}
