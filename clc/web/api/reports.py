"""/api/v1/reports/: machines, image storage, public addresses and capacity, by group, person and time."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import reports
from clc.web.api.endpoint import Endpoint
from clc.web.api.shapes import PAGES, TEXT, listed, says
from clc.web.rest import page
from luhyaapi.errors import Refused

TAG = "reports"
_FORMS = ("json", "csv")
_ASKS = [
    OpenApiParameter("from", str, description="Since then: a date or a time; 30 days before `to` unless said."),
    OpenApiParameter("to", str, description="Until then; of a date, until it is over; now unless said."),
    OpenApiParameter("group", str, description="All that belongs to that group or below it."),
    OpenApiParameter("user", str, description="What is that person's."),
    OpenApiParameter("form", str, enum=list(_FORMS), description="`csv`: all of it as a table."),
]


class RunLineShape(s.Serializer):
    """A machine that ran."""

    instance = s.CharField()
    name = s.CharField()
    user = s.CharField()
    group = s.CharField()
    image = s.CharField()
    image_version = s.IntegerField()
    cpus = s.IntegerField()
    memory_bytes = s.IntegerField()
    to = s.DateTimeField(allow_null=True, help_text="null: it runs")
    hours = s.FloatField(help_text="within the time that is asked for")
    cpu_hours = s.FloatField()


RunLineShape._declared_fields["from"] = s.DateTimeField()  # noqa: SLF001 - a word of the language cannot be a name


class ImageLineShape(s.Serializer):
    """A version of an image in the store."""

    image = s.CharField()
    version = s.IntegerField()
    user = s.CharField()
    group = s.CharField()
    since = s.DateTimeField()
    logical_bytes = s.IntegerField(help_text="what guests see")
    filled_bytes = s.IntegerField(help_text="without holes")
    added_bytes = s.IntegerField(help_text="by which the store grew when it came: blocks that were there already cost nothing")


class HoldingLineShape(s.Serializer):
    """A public address somebody had."""

    address = s.CharField()
    user = s.CharField()
    group = s.CharField()
    to = s.DateTimeField(allow_null=True, help_text="null: it is theirs")
    hours = s.FloatField()


HoldingLineShape._declared_fields["from"] = s.DateTimeField()  # noqa: SLF001


class CapacityLineShape(s.Serializer):
    """What a cluster had at one moment."""

    cluster = s.CharField()
    at = s.DateTimeField()
    nodes = s.IntegerField()
    cpus = s.IntegerField()
    cpus_used = s.IntegerField(help_text="of what runs")
    cpus_promised = s.IntegerField(help_text="of all there is, also of what is stopped")
    cpus_free = s.IntegerField()
    memory_bytes = s.IntegerField()
    memory_used_bytes = s.IntegerField()
    memory_promised_bytes = s.IntegerField()
    memory_free_bytes = s.IntegerField()
    disk_bytes = s.IntegerField()
    disk_promised_bytes = s.IntegerField(help_text="data disks")


def _endpoint(name: str, shape: type[s.Serializer], about: str) -> type[Endpoint]:
    found = reports.find(name)

    class Report(Endpoint):
        @says({(200, "application/json"): listed(f"Report{name.capitalize()}", shape), (200, "text/csv"): TEXT}, parameters=[*_ASKS, *PAGES], tag=TAG,
              operation_id=f"reports_{name}", description=about)
        def get(self, request: Request) -> Response | HttpResponse:
            names = [parameter.name for parameter in _ASKS]
            if unknown := [name for name in request.query_params if name not in names and name not in ("cursor", "limit")]:
                raise Refused("invalid", f"One cannot filter by {unknown[0][:40]!r}", f"filters: {', '.join(names)}", field=unknown[0][:40])
            asked = reports.asked(self.account, {name: request.query_params.get(name, "")[:3000] for name in names})
            form = request.query_params.get("form", "json")
            if form not in _FORMS:
                raise Refused("invalid", "The form is not possible", f"give {' or '.join(_FORMS)}, not {form[:20]!r}", field="form")
            if form == "csv":
                return csv_of(name, reports.as_csv(self.account, found, asked))
            rows = found.rows(self.account, asked)
            return page(request, rows, lambda some: [found.told(row, asked) for row in some], by=found.by, columns=found.columns)

    Report.__name__ = Report.__qualname__ = name.capitalize()
    return Report


def csv_of(name: str, text: str) -> HttpResponse:
    """A table to be kept as a file."""
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}.csv"'})


Instances = _endpoint("instances", RunLineShape, "Tell which machines ran, whose, how large and for how many hours, newest first, of what one may see.")
Images = _endpoint("images", ImageLineShape, "Tell what versions of images take in the store.")
Addresses = _endpoint("addresses", HoldingLineShape, "Tell who has had which public address, and when.")
Capacity = _endpoint("capacity", CapacityLineShape, "Tell what clusters had, hour by hour.")
