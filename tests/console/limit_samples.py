"""Samples of limits, ends of machines, budgets and reports."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from luhyaapi.contracts.vocabulary import Budgeted, Counted

_AT = 1_800_000_000.0

QUOTAS: dict[str, Any] = {"limits": {"may": True, "at": "/groups/grp-00000001/limit/", "rows": [
    {"counted": Counted.INSTANCES, "used": 40, "limit": 40, "left": 0, "set_by": "head"},
    {"counted": Counted.CPUS, "used": 61, "limit": 80, "left": 19, "set_by": "head"},
    {"counted": Counted.MEMORY, "used": 8192, "limit": None, "left": None, "set_by": ""},
]}}
_NAMES = ("default", "longest", "warn", "delete_after", "budget_grace")
_BUDGET = {"counted": Budgeted.HOURS, "hours": 500, "used": 410.5, "left": 89.5, "since": _AT, "until": _AT + 9e6, "set_by": "head", "spent": False,
           "ends_running_at": 0, "is_current": True}
ENDS: dict[str, Any] = {
    "budget": {"at": "/groups/grp-00000001/budget/", "words": list(Budgeted), "rows": [
        _BUDGET, _BUDGET | {"counted": Budgeted.CPU_HOURS, "used": 500, "left": 0, "spent": True, "ends_running_at": _AT + 9e4},
        _BUDGET | {"is_current": False}]},
    "ends": {"set_by": "head", "may_end": True, "rule": [{"name": name, "own": "7d", "bound": "7d"} for name in _NAMES]},
}
READ_ONLY: dict[str, Any] = {**QUOTAS, **ENDS, "limits": QUOTAS["limits"] | {"may": False}, "ends": ENDS["ends"] | {"may_end": False}}
_ENDING: dict[str, Any] = {"at": _AT, "is_over": False, "is_soon": True, "deleted_at": 0, "longest": "90d", "spent": [], "ends_running_at": 0}
SOON = {"ending": _ENDING}
OVER = {"ending": _ENDING | {"is_over": True, "deleted_at": _AT + 9e4, "longest": "", "spent": [{"of": "paul", "set_by": "head"}], "ends_running_at": _AT}}
_TOLD = {"title": _("Machines"), "titles": {"instances": _("Machines"), "images": _("Image storage")},
         "given": {"from": "2030-01-01", "to": "", "group": "edu", "user": ""},
         "query": "report=instances", "command": "educloud report instances", "group_paths": ["edu"], "since": _AT, "until": _AT + 9e5}


def reports() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """A report with rows and one without."""
    cells = [("ins-00000001", _("Id"), "id"), ("lab", _("Machine"), ""), (2**30, _("Memory"), "size"), (_AT, _("From"), "moment"), (None, _("To"), "moment"),
             (4.5, _("Hours"), "number")]
    rows = [[{"value": value, "head": head, "form": form} for value, head, form in cells]]
    full = _TOLD | {"report": "instances", "rows": rows, "heads": [head for _, head, _ in cells], "is_cut": True, "sums": {"hours": 11.0, "cpu_hours": 15.0}}
    return {"reports": ("reports/list.html", "people", full), "reports-none": ("reports/list.html", "people", _TOLD | {"report": "images", "rows": []})}


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
