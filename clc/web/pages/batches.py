"""Many accounts at once: a table or a row of numbers, looked at first; passwords that were made up are shown on the answer and nowhere else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import batches, groups, refusals
from clc.services.audit_export import harmless
from clc.web.page import Form, page, show
from clc.web.pages import rights
from clc.web.pages.limits import whole
from luhyaapi import tables
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import CODES, Refused

TABLE_AT_MOST = 900_000
_SHOWN = 500
_FIELDS = {"username": "prefix", "path": "group"}


@page("people/import/", "people_import", title=_("Many at once"), under="people", needs=(Kind.ACCOUNT, Verb.CREATE), methods=("GET", "HEAD", "POST"))
def bring_in(request: HttpRequest) -> HttpResponse:
    """The forms, and on the same page what comes of them: a table may hold passwords, which no session keeps."""
    form, told, status = Form({}, {}), {}, 200
    if request.method == "POST":
        form = Form.of(request)
        try:
            told = _told(request, form.values)
        except Refused as error:
            form.error, status = form.blame(error, **_FIELDS), CODES[error.code].http
            if error.code == "forbidden":
                refusals.forbidden(request.path, error)
    return show(request, "people/import.html", status, form=form, refused=form.error, home_group=groups.shown(request.user.group.path),
                sign_in_at=request.build_absolute_uri(reverse("portal")),
                is_numbered=form.values.get("way") == "numbered", **rights.choices(request, Verb.CREATE), **told)


def _told(request: HttpRequest, values: dict[str, str]) -> dict[str, Any]:
    group, role = values.get("group", "").strip(), values.get("role", "user")
    if values.get("way") == "numbered":
        first, last = (whole(values.get(name, ""), name) for name in ("first", "last"))
        if first is None or last is None:
            raise Refused("invalid", gettext("This is not a whole number"), field="last" if last is None else "first")
        lines = batches.numbered(values.get("prefix", "").strip(), first, last)
    else:
        values["table"] = _table(request)
        lines = batches.table(values["table"])
    if "make" not in values:
        return _shown(batches.look(request.user, lines, group, role))
    batch, made_up = batches.carry_out(request.user, lines, group, role)
    return _shown(batch) | {"done": True} | _slips(batch.looked, made_up)


def _table(request: HttpRequest) -> str:
    file = request.FILES.get("file")
    if file is not None and file.size > TABLE_AT_MOST:
        raise Refused("invalid", "The table cannot be taken", gettext("it is too large"), field="table")
    text = tables.decoded(file.read()) if file is not None else request.POST.get("table", "")
    if len(text) > TABLE_AT_MOST:
        raise Refused("invalid", "The table cannot be taken", gettext("it is too large"), field="table")
    return text


def _shown(batch: batches.Batch) -> dict[str, Any]:
    """The lines that are wrong first, then the others."""
    rows = sorted(batch.looked, key=lambda each: each.action is not batches.Action.WRONG)
    shown = [{"number": each.line.number,
              "username": each.line.username, "group": groups.shown(each.group or each.line.group), "role": each.role or each.line.role,
              "action": str(each.action), "why": each.why} for each in rows[:_SHOWN]]
    counts = batch.counts()
    return {"looked": shown, "counts": counts, "more": max(len(rows) - _SHOWN, 0), "new_groups": batch.new_groups,
            "may_make": not counts["wrong"] and bool(counts["add"] or counts["move"])}


def _slips(looked: Sequence[batches.Looked], made_up: Mapping[str, str]) -> dict[str, Any]:
    """The passwords that were made up, for a sheet to be cut and for a file, which the page itself holds: nothing of them is kept."""
    slips = [{"username": each.line.username, "password": made_up[each.line.username], "group": groups.shown(each.group)}
             for each in looked if each.line.username in made_up]
    out = io.StringIO()
    csv.writer(out).writerows([("username", "password", "group"), *([harmless(str(value)) for value in each.values()] for each in slips)])
    return {"slips": slips, "file": f"data:text/csv;charset=utf-8,{quote(out.getvalue())}" if slips else ""}
