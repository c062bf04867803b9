"""Sample contexts of the pages that delete an account, ask for one, and decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_OWNS = [
    {"kind": "instances", "title": "Machines", "count": 12, "names": [f"lab-{n} (ins-0000000{n})" for n in range(3)], "ends_anyway": False},
    {"kind": "images", "title": "Images", "count": 1, "names": ["atlas (img-00000001)"], "ends_anyway": False},
]


def pages(stamp: Callable[[float], str], form: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Page name -> template, menu entry, context."""
    person = {"username": "student-07"}
    going = {"by": "root", "asked_at": stamp(90), "owns": _OWNS, "trouble": {"what": "The image 'atlas' is in use", "why": "needed by x"}}
    return {
        "person-delete": ("people/delete.html", "people", {"person": person, "owns": _OWNS, "ends": [_OWNS[1]], "needed": [], "form": form}),
        "person-delete-going": ("people/delete.html", "people", {"person": person, "owns": _OWNS, "needed": ["atlas"], "under_way": going, "form": form}),
        "person-delete-bare": ("people/delete.html", "people", {"person": person, "owns": [], "ends": [], "needed": [], "form": form}),
    }
