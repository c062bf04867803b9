"""At most so much, on the pages of groups and people and in the form that runs machines."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext

from clc.services import groups, people, quotas
from clc.web.page import Form, go, page
from clc.web.pages.rights import NEEDS
from luhyaapi.contracts.vocabulary import Counted
from luhyaapi.errors import Refused
from luhyadb.models import Account, Group

_DIGITS = 16


def card(request: HttpRequest, *, group: Group | None = None, account: Account | None = None) -> dict[str, Any]:
    """What is used of a group or a person and what may be, for who sees it; the form is for who may set limits."""
    whose = {"user": account.username} if account else {"group": group.pk if group else ""}
    rows = [{"counted": what, "used": used, "limit": standing and int(standing.quota.limit), "left": standing and standing.left,
             "set_by": standing.quota.set_by if standing else ""} for what, used, standing in quotas.every(group=group, account=account)]
    at = reverse("person_limit", args=[account.username]) if account else reverse("group_limit", args=[group.pk if group else ""])
    return {"limits": {"rows": rows, "may": quotas.may_put(request.user, **whose), "at": at}}


def left(request: HttpRequest) -> dict[str, Any]:
    """How much more somebody may make, for the form that runs machines; empty where nothing is limited."""
    found = quotas.left(request.user)
    what = (Counted.INSTANCES, Counted.CPUS, Counted.MEMORY, Counted.DISK)
    return {"left": {str(each): found[each] for each in what if each in found},
            "none_left": [each for each in what if found.get(each) == 0 and each is not Counted.DISK]}


def whole(text: str, field: str) -> int | None:
    """A whole number somebody typed; None for none. Raises Refused(invalid)."""
    text = text.strip()
    if text in ("", "none"):
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise Refused("invalid", gettext("This is not a whole number"), text[:40], field=field)
    return int(text)


def _put(request: HttpRequest, values: dict[str, str], **whose: str) -> None:
    limit = None if "lift" in values else whole(values.get("limit", ""), "limit")
    quotas.put(request.user, values.get("counted", ""), limit, **whose)
    messages.success(request, gettext("The limit is set") if limit is not None else gettext("The limit is lifted"))


@page("groups/<str:ident>/limit/", "group_limit", needs=NEEDS, under="groups", methods=("POST",), back="group")
def of_group(request: HttpRequest, ident: str) -> HttpResponse:
    """Set a limit of a group, or lift it."""
    row = groups.resolve(request.user, ident)
    _put(request, Form.of(request).values, group=row.pk)
    return go(request, reverse("group", args=[row.pk]))


@page("people/of/<str:ident>/limit/", "person_limit", needs=NEEDS, under="people", methods=("POST",), back="person")
def of_person(request: HttpRequest, ident: str) -> HttpResponse:
    """Set a limit of a person, or lift it."""
    account = people.find(request.user, ident)
    _put(request, Form.of(request).values, user=account.username)
    return go(request, reverse("person", args=[account.username]))
