"""/api/v1/hosts/: the machines of the cloud; seen by who has a right over hosts, managed by administrators."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import hosts, losses, pictures
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, HostShape, TokenShape, asks, listed, says
from clc.web.rest import Filters, Form, Nothing, Text, exactly, narrowed, page
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused
from luhyadb import paths, scope
from luhyadb.models import Account, Host

TAG = "hosts"


def _named(account: Account, text: str) -> Host:
    """The host with that id, or the only one with that name. Raises Refused(forbidden | not_found | conflict)."""
    there = hosts.known(account)
    if any(ids.is_id(text, role) for role in ids.HOST_ROLES):
        return scope.one(account, Host, pk=text)
    rows = list(there.filter(name=text).exclude(state=HostState.RETIRED)[:10])
    if len(rows) > 1:
        raise Refused("conflict", f"Several hosts are called {text[:63]!r}", ", ".join(h.pk for h in rows), hint="Name one of them by its id.")
    return rows[0] if rows else scope.one(account, Host, pk=text)


class TokenForm(Form):
    """Which role the new host will play."""

    role = Text(max_length=10, required=False, default="nc")


class PlaceForm(Form):
    """Whose it is."""

    group = Text(max_length=4 * paths.LENGTH, help_text="The path of a group; `everybody` for all.")


class Hosts(Endpoint):
    """All hosts; removed ones only when asked for with ``state``."""

    filters: ClassVar[Filters] = {
        "role": exactly("role", Role), "state": exactly("state", HostState), "name": exactly("name"), "boss": exactly("boss"),
    }

    @says(listed("Host", HostShape), parameters=asks(*filters), tag=TAG, operation_id="hosts_list")
    def get(self, request: Request) -> Response:
        """List hosts with the age of their last heartbeat."""
        rows = narrowed(request, hosts.known(self.account), self.filters)
        if "state" not in request.query_params:
            rows = rows.exclude(state=HostState.RETIRED)
        return page(request, rows, pictures.hosts, newest=False)


class Tokens(Endpoint):
    """Permissions to join."""

    @says(TokenShape, 201, sends=TokenForm, parameters=[KEY], tag=TAG, operation_id="hosts_token")
    @once
    def post(self, _request: Request) -> Response:
        """Make a one-time token with which one host may join; it is shown only now."""
        scope.require_admin(self.account)
        role = self.sent(TokenForm)["role"]
        token, expires_at = hosts.make_token(self.account, role)
        return Response({"token": token, "role": role, "boss": hosts.boss_door(role), "expires_at": clock.rfc3339(expires_at)}, 201)


class OneHost(Endpoint):
    """One host, by id or by its name if only one has it."""

    @says(HostShape, tag=TAG, operation_id="hosts_show")
    def get(self, _request: Request, host: str) -> Response:
        """Show a host and its facts."""
        return Response(pictures.host(_named(self.account, host)))

    @says(HostShape, sends=PlaceForm, tag=TAG, operation_id="hosts_place")
    def patch(self, _request: Request, host: str) -> Response:
        """Have a host belong to another group."""
        row = _named(self.account, host)
        return Response(pictures.host(hosts.place(self.account, row.pk, self.sent(PlaceForm)["group"])))

    @says(None, 204, tag=TAG, operation_id="hosts_remove")
    def delete(self, _request: Request, host: str) -> Response:
        """Remove a host that runs nothing; it must join anew to come back."""
        row = _named(self.account, host)
        hosts.remove(self.account, row.pk)
        return Response(status=204)


def _acts(verb: str, says_: str, act: Callable[[Account, str], Host]) -> type[Endpoint]:
    class Act(Endpoint):
        @says(HostShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id=f"hosts_{verb}", description=says_)
        @once
        def post(self, _request: Request, host: str) -> Response:
            row = _named(self.account, host)
            self.sent(Nothing)
            return Response(pictures.host(act(self.account, row.pk)))

    Act.__name__ = Act.__qualname__ = verb.capitalize()
    return Act


Approve = _acts("approve", "Let a waiting host in.", hosts.approve)
Refresh = _acts("refresh", "Have a host send all its facts now.", hosts.refresh)
Lost = _acts("lost", "Remove a silent host whose machine is gone for good: its instances fail with that reason, and may begin anew.", losses.lost)
Drain = _acts("drain", "Place nothing new on a node.", lambda account, host: hosts.drain(account, host, on=True))
Resume = _acts("resume", "Place instances on a drained node again.", lambda account, host: hosts.drain(account, host, on=False))
