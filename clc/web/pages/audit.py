"""Who did what: the record of changes for administrators, and the history of one thing for whoever may see it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from clc.services import audit_export
from clc.services.audit_export import Asked
from clc.web.api.audit import asked_of
from clc.web.listing import KEPT, listed
from clc.web.page import page, show
from luhyaapi import ids
from luhyaapi.contracts.vocabulary import Result, Via
from luhyaapi.errors import Refused

_PAGES = {"instance": "instance", "image": "image", "task": "task", "host": "host", "network": "network", "group": "security_group",
          "workspace": "workspace"}
"""Noun of an event -> the page of what it is about."""


def _rows(request: HttpRequest, asked: Asked) -> dict[str, Any]:
    found = listed(request, audit_export.found(request.user, asked).select_related("owner"), "-id")
    rows = [_shown(audit_export.picture(row, request.user)) for row in found.rows]
    return {"rows": rows, "next_url": found.next_url, "previous_url": found.previous_url}


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    names = dict.fromkeys([*told["before"], *told["after"]])
    changes = [{"name": name, "before": _text(told["before"].get(name)), "after": _text(told["after"].get(name))} for name in names]
    words = {"via": Via(told["via"]), "result": Result(told["result"])}
    more = {name: _text(value) for name, value in told["fields"].items() if value not in ("", None, {})}
    return told | words | {"changes": changes, "url": _url(told["noun"], told["subject"]), "more": more}


def _text(value: Any) -> str:
    """A value in words: of a thing its fields, of a list what is in it."""
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items() if each not in ("", None))
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)


def _url(noun: str, subject: str) -> str:
    name = "group" if ids.is_id(subject, "grp") else _PAGES.get(noun, "")
    try:
        return str(reverse(name, args=[subject])) if name and subject else ""
    except NoReverseMatch:
        return ""


@page("audit/", "audit", title=_("Audit"), icon="clipboard-text", rank=65, admin_only=True)
def index(request: HttpRequest) -> HttpResponse:
    """The whole record, newest first."""
    asked = asked_of({name: request.GET[name] for name in KEPT if request.GET.get(name)})
    query = urlencode({name: value for name in KEPT if (value := request.GET.get(name, "").strip())})
    return show(request, "audit/list.html", filters={name: request.GET.get(name, "") for name in KEPT}, query=query, is_all=asked.is_all,
                chain=audit_export.standing(), **_rows(request, asked))


@page("history/<str:ident>/", "history")
def history(request: HttpRequest, ident: str) -> HttpResponse:
    """What happened to one thing, and who did it."""
    told = _rows(request, Asked(subject=ident))
    if not told["rows"] and not request.user.is_admin:
        raise Refused("not_found", "There is no such page")
    return show(request, "audit/history.html", ident=ident, **told)
