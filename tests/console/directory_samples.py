"""Sample contexts of the pages about directories."""

from __future__ import annotations

from typing import Any

from luhyaapi.contracts.vocabulary import DirectoryKind

_PRESETS = [{"name": "openldap", "title": "OpenLDAP"}, {"name": "oidc", "title": "OpenID Connect"}]
_AT = "2027-01-15T08:00:00Z"
_CHOICES = {"roles": ["user", "powerAdm", "superAdm"], "group_paths": ["everybody", "edu"], "command": "educloud directory show school"}
_DIRECTORY: dict[str, Any] = {
    "id": "dir-00000001", "name": "school", "kind": DirectoryKind.LDAP, "enabled": True, "settings": {"uri": "ldaps://ldap.school", "ca": "", "plain": False},
    "has_secret": True, "role": "user", "group": "edu.school", "units": None, "people": 480, "created_at": _AT, "checked_at": 1_800_000_000.0,
    "trouble": "", "missing": 0, "held": [],
    "mappings": [{"id": "dmp-00000001", "attribute": "memberOf", "value": "cn=teachers,ou=groups,dc=school", "group": "edu.school", "role": "powerAdm"}],
}
_FIELDS = [
    {"name": "uri", "title": "Address", "hint": "ldaps://HOST", "value": "ldaps://ldap.school", "optional": False},
    {"name": "bind_dn", "title": "DN", "hint": "", "value": "cn=reader,dc=school", "optional": True},
]
_TESTED = {"ok": False, "steps": [
    {"ok": True, "text": "ldaps://ldap.school answers, with a certificate that is trusted", "why": "", "hint": ""},
    {"ok": False, "text": "The directory school does not answer", "why": "it does not know cn=reader,dc=school with that password",
     "hint": "Correct the bind DN or its password."},
]}
_BATCH = {"done": False, "counts": {"add": 1, "same": 0, "move": 1, "wrong": 1}, "new_groups": ["edu.school.class7"], "more": 12, "lines": [
    {"username": "no name", "action": "wrong", "why": "another account is called ada already", "group": "", "role": ""},
    {"username": "ann", "action": "add", "why": "", "group": "edu.school.class7", "role": "user"},
    {"username": "bob", "action": "move", "why": "it is user in edu", "group": "edu.school", "role": "user"},
]}


def pages(form: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Page name -> template, menu entry, context."""
    rows = [
        {"name": name, "kind": kind, "enabled": enabled, "address": "ldaps://ldap.school", "people": 480, "trouble": trouble, "missing": missing}
        for name, kind, enabled, trouble, missing in (
            ("school", DirectoryKind.LDAP, True, "", 0), ("staff", DirectoryKind.LDAP, True, "The directory staff does not answer", 0),
            ("office", DirectoryKind.LDAP, True, "", 80), ("portal", DirectoryKind.OIDC, False, "", 0),
        )
    ]
    shared = {"form": form, "values": {}, "settings": _FIELDS, "is_ldap": True, **_CHOICES}
    providers = [{"name": "portal", "title": "School portal"}, {"name": "city", "title": "City of Longyou"}]
    of_provider = {"directory": {"directory": {"name": "portal", "kind": "oidc"}}, "sessions": [], "tokens": [], "form": form,
                   "second_step": {"on": False, "recovery_codes_left": 0}}
    return {
        "login-providers": ("login.html", "", {"form": form, "next": "/instances/", "providers": providers, "out_of": "portal"}),
        "account-of-provider": ("account/detail.html", "", of_provider),
        "account-of-provider-proved": ("account/detail.html", "", of_provider | {"is_proved": True, "second_step": {"on": True, "recovery_codes_left": 3}}),
        "directories": ("directories/list.html", "directories", {"rows": rows, "presets": _PRESETS, "form": form}),
        "directories-none": ("directories/list.html", "directories", {"rows": [], "presets": _PRESETS, "form": form}),
        "directory": ("directories/detail.html", "directories", {"directory": _DIRECTORY, **shared}),
        "directory-tested": ("directories/detail.html", "directories", {
            "directory": _DIRECTORY | {"enabled": False, "missing": 80, "held": ["ann", "bob"], "trouble": "The directory school does not answer"},
            "tested": _TESTED, "batch": _BATCH, **shared,
        }),
        "directory-provider": ("directories/detail.html", "directories", {
            "directory": _DIRECTORY | {"kind": DirectoryKind.OIDC, "mappings": []}, **shared | {"is_ldap": False},
        }),
    }
