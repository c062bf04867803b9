"""/api/v1/quotas/: at most so much."""

from __future__ import annotations

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import quotas
from clc.web.api.endpoint import Endpoint
from clc.web.api.shapes import many, says, word
from clc.web.rest import Form, Text, Whole
from luhyaapi.contracts.vocabulary import Counted
from luhyaapi.errors import Refused
from luhyadb import paths

TAG = "rights"


class QuotaShape(s.Serializer):
    """A limit, and how it stands."""

    group = s.CharField(allow_null=True)
    user = s.CharField(allow_null=True)
    counted = word(Counted)
    limit = s.IntegerField(allow_null=True, help_text="null: there is none any more.")
    used = s.IntegerField()
    left = s.IntegerField(allow_null=True)
    set_by = s.CharField(allow_blank=True)


class QuotaForm(Form):
    """A limit of a group or a user."""

    group = Text(max_length=4 * paths.LENGTH, required=False, allow_blank=True, default="")
    user = Text(max_length=150, required=False, allow_blank=True, default="")
    counted = Text(max_length=16)
    limit = Whole(allow_null=True, help_text="null: none any more.")


def _picture(each: quotas.Standing) -> dict[str, object]:
    row = each.quota
    return {
        "group": row.group.path if row.group else None, "user": row.account.username if row.account else None, "counted": str(row.counted),
        "limit": int(row.limit), "used": each.used, "left": each.left, "set_by": row.set_by,
    }


class Quotas(Endpoint):
    """Limits."""

    @says(many("Quota", QuotaShape), tag=TAG, operation_id="quotas_list")
    def get(self, request: Request) -> Response:
        """List the limits of a `group` or a `user` with what is used; without either those that bind oneself."""
        asked = {name: request.query_params.get(name, "")[:3000] for name in ("group", "user")}
        if unknown := set(request.query_params) - set(asked):
            raise Refused("invalid", f"One cannot filter by {min(unknown)[:40]!r}", "filters: group, user", field=min(unknown)[:40])
        return Response({"results": [_picture(each) for each in quotas.known(self.account, **asked)], "next": None})

    @says(QuotaShape, sends=QuotaForm, tag=TAG, operation_id="quotas_set")
    def put(self, _request: Request) -> Response:
        """Set or lift a limit (who manages people above the group, or the person)."""
        sent = self.sent(QuotaForm)
        found = quotas.put(self.account, sent["counted"], sent["limit"], group=sent["group"], user=sent["user"])
        if found is None:
            return Response({"group": sent["group"] or None, "user": sent["user"] or None, "counted": sent["counted"], "limit": None, "used": 0, "left": None,
                             "set_by": ""})
        return Response(_picture(found))
