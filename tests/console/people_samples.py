"""Sample contexts of the pages that delete an account, ask for one, and decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luhyaapi.contracts.vocabulary import RequestState

_OWNS = [
    {"kind": "instances", "title": "Machines", "count": 12, "names": [f"lab-{n} (ins-0000000{n})" for n in range(3)], "ends_anyway": False},
    {"kind": "images", "title": "Images", "count": 1, "names": ["atlas (img-00000001)"], "ends_anyway": False},
]


def pages(stamp: Callable[[float], str], form: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Page name -> template, menu entry, context."""
    person = {"username": "student-07"}
    going = {"by": "root", "asked_at": stamp(90), "owns": _OWNS, "trouble": {"what": "The image 'atlas' is in use", "why": "needed by x"}}
    asked = {"id": "req-00000001", "username": "ada", "display_name": "Ada", "email": "ada@school.example", "group": "edu.school", "reason": "physics",
             "created_at": stamp(600), "decided_at": None, "decided_by": "", "why": "", "state": RequestState.WAITING, "name_is_taken": False}
    done = asked | {"id": "req-00000002", "state": RequestState.REFUSED, "decided_by": "root", "decided_at": stamp(60), "why": "not of this school"}
    lists = {"roles": ["user", "powerUser"], "group_paths": ["edu.school"], "form": form}
    return {
        "request": ("request.html", "", {"form": form, "places": ["edu.school"], "length": 10}),
        "request-state": ("request_state.html", "", {"form": form}),
        "request-code": ("request_state.html", "", {"form": form, "code": "abcdefgh"}),
        "request-found": ("request_state.html", "", {"form": form, "found": done}),
        "requests": ("people/requests.html", "requests", {"rows": [asked, asked | {"id": "req-00000003", "name_is_taken": True}, done],
                                                          "open_groups": ["edu.school"], **lists}),
        "requests-bare": ("people/requests.html", "requests", {"rows": [], "open_groups": [], **lists}),
        "person-delete": ("people/delete.html", "people", {"person": person, "owns": _OWNS, "ends": [_OWNS[1]], "needed": [], "form": form}),
        "person-delete-going": ("people/delete.html", "people", {"person": person, "owns": _OWNS, "needed": ["atlas"], "under_way": going, "form": form}),
        "person-delete-bare": ("people/delete.html", "people", {"person": person, "owns": [], "ends": [], "needed": [], "form": form}),
    }
