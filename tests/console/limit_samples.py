"""Samples of limits, ends of machines, budgets and reports."""

from __future__ import annotations

from typing import Any

from luhyaapi.contracts.vocabulary import Counted

QUOTAS: dict[str, Any] = {"limits": {"may": True, "at": "/groups/grp-00000001/limit/", "rows": [
    {"counted": Counted.INSTANCES, "used": 40, "limit": 40, "left": 0, "set_by": "head"},
    {"counted": Counted.CPUS, "used": 61, "limit": 80, "left": 19, "set_by": "head"},
    {"counted": Counted.MEMORY, "used": 8192, "limit": None, "left": None, "set_by": ""},
]}}
LEFT: dict[str, Any] = {"left": {"instances": 0, "cpus": 3}, "none_left": [Counted.INSTANCES]}
_CHOICES: dict[str, Any] = {"roles": ["user", "powerUser"], "home_group": "everybody", "group_paths": ["edu", "edu.school"]}
_LOOKED = [
    {"number": 3, "username": "p l", "group": "edu", "role": "user", "action": "wrong", "why": "The user name is not possible"},
    {"number": 2, "username": "pia", "group": "edu", "role": "user", "action": "add", "why": ""},
    {"number": 4, "username": "paul", "group": "edu", "role": "user", "action": "move", "why": ""},
    {"number": 5, "username": "ada", "group": "edu", "role": "user", "action": "same", "why": ""},
]
_COUNTS = {"add": 1, "move": 1, "same": 1, "wrong": 1}


def batches(form: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """The page of many accounts: new, looked at, made."""
    typed = form | {"values": {"way": "table", "table": "username\npia", "group": "edu", "role": "user"}}
    looked = {"looked": _LOOKED, "counts": _COUNTS, "more": 7, "new_groups": ["edu.new"], "may_make": False}
    made = {"done": True, "slips": [{"username": "pia", "password": "abcd-efgh-jkmn-pqrs", "group": "edu"}], "file": "data:text/csv,x"}
    return {
        "people-import": ("people/import.html", "people", {**_CHOICES, "form": form}),
        "people-import-looked": ("people/import.html", "people", {**_CHOICES, "form": typed, **looked}),
        "people-import-good": ("people/import.html", "people", {**_CHOICES, "form": typed, **looked, "counts": _COUNTS | {"wrong": 0}, "may_make": True}),
        "people-import-made": ("people/import.html", "people", {**_CHOICES, "form": typed, **looked, **made}),
    }
