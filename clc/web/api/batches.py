"""/api/v1/users/import/ and numbered/: many accounts at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import batches
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, says
from clc.web.rest import Form, Text, Whole
from luhyadb import paths

TAG = "users"
_TABLE_AT_MOST = 900_000


class BatchLineShape(s.Serializer):
    """A line, and what becomes of it."""

    line = s.IntegerField()
    username = s.CharField()
    group = s.CharField(allow_blank=True)
    role = s.CharField(allow_blank=True)
    action = s.ChoiceField(choices=[str(each) for each in batches.Action])
    why = s.CharField(allow_blank=True)
    password = s.CharField(allow_null=True, help_text="One that was made up, told this once.")


class BatchShape(s.Serializer):
    """What becomes of all of them."""

    done = s.BooleanField(help_text="False: it was looked at, and nothing is changed.")
    lines = BatchLineShape(many=True)
    new_groups = s.ListField(child=s.CharField())
    counts = s.DictField(child=s.IntegerField())


class BatchForm(Form):
    """For all lines that say nothing else."""

    group = Text(max_length=4 * paths.LENGTH, required=False, allow_blank=True, default="", help_text="Empty: that of who asks.")
    role = Text(max_length=63, required=False, default="user")
    preview = s.BooleanField(required=False, default=False, help_text="Only look.")


class TableForm(BatchForm):
    """A CSV text."""

    table = Text(max_length=_TABLE_AT_MOST, lines=True, help_text="Its first line names the columns: username, and group, role, password if there are such.")


class NumberedForm(BatchForm):
    """A row of numbers behind a prefix."""

    prefix = Text(max_length=50)
    first = Whole(default=1)
    last = Whole()


class _Batch(Endpoint):
    def _answer(self, lines: Sequence[batches.Line], sent: dict[str, Any]) -> Response:
        made_up: dict[str, str] = {}
        if sent["preview"]:
            batch = batches.look(self.account, lines, sent["group"], sent["role"])
        else:
            batch, made_up = batches.carry_out(self.account, lines, sent["group"], sent["role"])
        told = [
            {"line": each.line.number, "username": each.line.username, "group": each.group or each.line.group, "role": each.role or each.line.role,
             "action": str(each.action), "why": each.why, "password": made_up.get(each.line.username)} for each in batch.looked
        ]
        return Response({"done": not sent["preview"], "lines": told, "new_groups": list(batch.new_groups), "counts": batch.counts()})


class Import(_Batch):
    """Accounts from a table."""

    @says(BatchShape, sends=TableForm, parameters=[KEY], tag=TAG, operation_id="users_import")
    @once
    def post(self, _request: Request) -> Response:
        """Make and move accounts as the lines of a table say, all or none; the same table again changes nothing (who manages people)."""
        sent = self.sent(TableForm)
        return self._answer(batches.table(sent["table"]), sent)


class Numbered(_Batch):
    """Accounts with numbers."""

    @says(BatchShape, sends=NumberedForm, parameters=[KEY], tag=TAG, operation_id="users_numbered")
    @once
    def post(self, _request: Request) -> Response:
        """Make accounts of a prefix and numbers, all or none (who manages people)."""
        sent = self.sent(NumberedForm)
        return self._answer(batches.numbered(sent["prefix"], sent["first"], sent["last"]), sent)
