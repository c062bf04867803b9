"""Reports: machines, image storage, public addresses and capacity, by group, person and time; for the screen, for paper, as a table."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from clc.services import reports
from clc.web.api.reports import csv_of
from clc.web.page import page, show
from clc.web.pages import rights
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused

_ASKED = ("from", "to", "group", "user")
_SHOWN = 1000
_HEADS: dict[str, Any] = {
    "instance": _("Id"), "name": _("Machine"), "user": _("Owner"), "group": _("Group"), "image": _("Image"), "image_version": _("Version"),
    "cpus": _("Processors"), "memory_bytes": _("Memory"), "from": _("From"), "to": _("To"), "hours": _("Hours"), "cpu_hours": _("Processor hours"),
    "version": _("Version"), "since": _("Since"), "logical_bytes": _("As guests see it"), "filled_bytes": _("Without holes"),
    "added_bytes": _("The store grew by"), "address": _("Address"), "cluster": _("Cluster"), "at": _("When"), "nodes": _("Nodes"),
    "cpus_used": _("Processors used"), "cpus_promised": _("Processors promised"), "cpus_free": _("Processors free"), "memory_used_bytes": _("Memory used"),
    "memory_promised_bytes": _("Memory promised"), "memory_free_bytes": _("Memory free"), "disk_bytes": _("Disks"),
    "disk_promised_bytes": _("Data disks promised"),
}
_MOMENTS = ("from", "to", "since", "at")
_TITLES = {"instances": _("Machines"), "images": _("Image storage"), "addresses": _("Public addresses"), "capacity": _("Capacity")}


@page("reports/", "reports", title=_("Reports"), icon="clipboard-text", rank=64, needs=(Kind.INSTANCE, Verb.READ))
def index(request: HttpRequest) -> HttpResponse:
    """One report by what is asked for; with ``csv`` as a file."""
    name = request.GET.get("report", "instances")
    given = {key: request.GET.get(key, "")[:700] for key in _ASKED}
    shown: dict[str, Any] = {"rows": [], "heads": [], "sums": {}}
    error = None
    try:
        report = reports.find(name)
        asked = reports.asked(request.user, given)
        if "csv" in request.GET:
            return csv_of(name, reports.as_csv(request.user, report, asked))
        found = reports.lines(request.user, report, asked, _SHOWN + 1)
        shown = {"rows": [_cells(report, row) for row in found[:_SHOWN]], "is_cut": len(found) > _SHOWN, "heads": [_HEADS[head] for head in report.heads],
                 "sums": reports.totals(request.user, asked) if name == "instances" else {}, "since": asked.since, "until": asked.until}
    except Refused as refused:
        error = refused.wire()
    query = urlencode({"report": name} | {key: value for key, value in given.items() if value})
    command = " ".join([
        f"educloud report {name if name in _TITLES else 'instances'}", *(f"--{key} {shlex.quote(value)}" for key, value in given.items() if value)])
    return show(request, "reports/list.html", report=name, titles=_TITLES, title=_TITLES.get(name, ""), given=given, query=query, command=command,
                refused=error, group_paths=rights.group_paths(request, Verb.READ), **shown)


def _cells(report: reports.Report, row: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"value": row[head], "head": _HEADS[head], "form": _form(head, row[head])} for head in report.heads]


def _form(head: str, value: object) -> str:
    if head == "instance":
        return "id"
    number = "number" if isinstance(value, int | float) else ""
    return "size" if head.endswith("_bytes") else "moment" if head in _MOMENTS else number
