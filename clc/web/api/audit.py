"""/api/v1/audit/: who did what, from where, and the chain that shows whether a line is lacking."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import audit_export, events
from clc.services.audit_export import Asked
from clc.web.api.afar import afar
from clc.web.api.endpoint import Endpoint
from clc.web.api.shapes import PAGES, TEXT, listed, says, word
from clc.web.rest import page
from luhyaapi.contracts.vocabulary import Result, Via
from luhyaapi.errors import Refused
from luhyadb import memory, scope

TAG = "audit"
_KINDS = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}
_ASKS = [
    OpenApiParameter("subject", str, description="The id of what it is about; tasks about it are told too."),
    OpenApiParameter("person", str, description="The user name of who did it, or whose it is."),
    OpenApiParameter("group", str, description="A group by its path or id: what is of its people or of those below it, for who may see them."),
    OpenApiParameter("actor", str, description="The user name of who did it."),
    OpenApiParameter("noun", str, description="The kind of thing: instance, image, user, session, ..."),
    OpenApiParameter("task", str, description="The id of a task."),
    OpenApiParameter("via", str, enum=[str(each) for each in Via], description="By which way it was asked for."),
    OpenApiParameter("result", str, enum=[str(each) for each in Result], description="What came of it."),
    OpenApiParameter("since", str, description="Not before this: a date or a time (RFC 3339)."),
    OpenApiParameter("until", str, description="Before this."),
]


class LineShape(s.Serializer):
    """One line of the record."""

    id = s.IntegerField(help_text="the number of the event in the stream of events")
    number = s.IntegerField(allow_null=True, help_text="its number in the chain; null until it is sealed, within seconds")
    at = s.DateTimeField()
    noun = s.CharField()
    subject = s.CharField(help_text="the id of what it is about")
    what = s.CharField()
    result = word(Result)
    actor_id = s.IntegerField(allow_null=True, help_text="the account that did it; null: a host, or the cloud itself")
    actor = s.CharField(help_text="its name at that time")
    owner_id = s.IntegerField(allow_null=True, help_text="whose it is, and so on whose behalf it was done")
    owner = s.CharField()
    via = word(Via)
    origin = s.CharField(help_text="address of the client, or id of the host")
    token = s.CharField(help_text="id of the token that was used; never the token")
    host = s.CharField(help_text="the host it is about, or that told it")
    task = s.CharField()
    request = s.CharField(help_text="X-Request-Id of the request; it stands in the log too")
    fields = s.DictField(help_text="what else is to be said")
    before = s.DictField(help_text="of a change: the fields that changed, as they were")
    after = s.DictField(help_text="and as they are")
    digest = s.CharField(help_text="its digest in the chain; empty until it is sealed")


class StandingShape(s.Serializer):
    """How the chain stands."""

    head = s.CharField(help_text="NUMBER:DIGEST of the last line; note it elsewhere")
    number = s.IntegerField()
    digest = s.CharField()
    removed = s.IntegerField(help_text="retention removed the lines up to this number")
    unsealed = s.IntegerField(help_text="events that are not in the chain yet")


def asked_of(query: Mapping[str, str], *beside: str) -> Asked:
    """What a query asks for; parameters named ``beside`` are somebody else's. Raises Refused(invalid)."""
    known = {parameter.name: parameter for parameter in _ASKS}
    if unknown := [name for name in query if name not in known and name not in beside]:
        raise Refused("invalid", f"One cannot filter by {unknown[0][:40]!r}", f"filters: {', '.join(known)}", field=unknown[0][:40])
    given = {name: query[name].strip()[:200] for name in known if query.get(name, "").strip()}
    for name, text in given.items():
        allowed = known[name].enum or ()
        if allowed and text not in allowed:
            raise Refused("invalid", f"{text[:40]!r} cannot be asked for", f"there are {', '.join(map(str, allowed))}", field=name)
    since, until = (audit_export.moment(text, name) if (text := given.pop(name, "")) else None for name in ("since", "until"))
    return Asked(since=since, until=until, **given)


class Audit(Endpoint):
    """The record."""

    @says(listed("Audit", LineShape), parameters=[*_ASKS, *PAGES], tag=TAG, operation_id="audit_list")
    def get(self, request: Request) -> Response:
        """List who did what, newest first: administrators all, who sees the people of a `group` what is of that group, others what is theirs."""
        rows = audit_export.found(self.account, asked_of(request.query_params, "cursor", "limit")).select_related("owner")
        return page(request, rows, lambda found: [audit_export.picture(row, self.account) for row in found], by="id")


class Head(Endpoint):
    """The head of the chain."""

    @says(StandingShape, tag=TAG, operation_id="audit_head")
    def get(self, _request: Request) -> Response:
        """Tell how the chain stands (administrators)."""
        scope.require_admin(self.account)
        return Response(audit_export.standing())


class Export(Endpoint):
    """The sealed lines, to keep elsewhere and to verify."""

    @says({(200, "application/jsonl"): TEXT, (200, "text/csv"): TEXT}, tag=TAG, operation_id="audit_export",
          parameters=[*_ASKS, OpenApiParameter("form", str, enum=list(audit_export.FORMS), description="`jsonl`, which can be verified, or `csv`.")])
    def get(self, request: Request) -> StreamingHttpResponse:
        """Export the record in the order of its chain (administrators); the head stands in the last line."""
        asked, form = asked_of(request.query_params, "form"), request.query_params.get("form", "jsonl")
        pieces = audit_export.export(self.account, asked, form)
        with memory.atomic():
            events.record("audit", "chain", "record exported", owner=self.account, form=form, asked=asked.said())
        told = StreamingHttpResponse(afar(request._request, pieces), content_type=_KINDS[form])  # noqa: SLF001 - Django's own request
        told.headers["Content-Disposition"] = f'attachment; filename="audit.{form}"'
        return told
