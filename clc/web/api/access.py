"""What reaches one instance: /api/v1/instances/<instance>/forwards/, .../rules/, .../groups/."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import access, access_pictures, forwards, instances, remote_desktop, security_groups
from clc.web.api.access_shapes import (
    AskedForwardShape,
    ForwardForm,
    GroupsForm,
    RemoteDesktopShape,
    RulesForm,
    RulesShape,
)
from clc.web.api.endpoint import Endpoint
from clc.web.api.instances import TAG
from clc.web.api.once import once
from clc.web.api.shapes import KEY, asks, listed, says
from clc.web.rest import narrowed, page
from luhyadb import scope
from luhyadb.models import Forward, Instance


class _OfOne(Endpoint):
    def row(self, instance: str) -> Instance:
        """The visible instance of that id or name. Raises Refused(not_found | conflict)."""
        return instances.resolve(self.account, instance)


class Forwards(_OfOne):
    """Ports of an instance that are reached by ports of its cluster."""

    @says(listed("AskedForward", AskedForwardShape), parameters=asks(), tag=TAG, operation_id="forwards_list")
    def get(self, request: Request, instance: str) -> Response:
        """List the forwards of an instance."""
        rows = scope.visible_to(self.account, Forward).filter(instance=self.row(instance))
        return page(request, narrowed(request, rows, {}), access_pictures.forwards, newest=False)

    @says(AskedForwardShape, 201, sends=ForwardForm, parameters=[KEY], tag=TAG, operation_id="forwards_create")
    @once
    def post(self, _request: Request, instance: str) -> Response:
        """Have a port reached from outside; `address` and `port` follow when the cluster said them."""
        given = self.sent(ForwardForm)
        until = given.pop("until")
        ask = forwards.Ask(**given, until=until.timestamp() if until else None)
        made = forwards.add(self.account, self.row(instance).pk, ask)
        return Response(access_pictures.forwards([made])[0], status=201)


class OneForward(_OfOne):
    """One forward."""

    @says(AskedForwardShape, tag=TAG, operation_id="forwards_show")
    def get(self, _request: Request, instance: str, forward: str) -> Response:
        """Show a forward."""
        row = scope.one(self.account, Forward, pk=forward, instance=self.row(instance).pk)
        return Response(access_pictures.forwards([row])[0])

    @says(None, 204, tag=TAG, operation_id="forwards_delete")
    def delete(self, _request: Request, instance: str, forward: str) -> Response:
        """Close a forward."""
        forwards.delete(self.account, self.row(instance).pk, forward)
        return Response(status=204)


class Rules(_OfOne):
    """What may reach an instance."""

    @says(RulesShape, tag=TAG, operation_id="instances_rules")
    def get(self, _request: Request, instance: str) -> Response:
        """Show the rules of an instance, its own and those of its groups."""
        return Response(access_pictures.rules_of(self.row(instance)))

    @says(RulesShape, sends=RulesForm, tag=TAG, operation_id="instances_set_rules")
    def put(self, _request: Request, instance: str) -> Response:
        """Let these reach an instance by rules of its own, and no others."""
        row = access.set_rules(self.account, self.row(instance).pk, self.sent(RulesForm)["rules"])
        return Response(access_pictures.rules_of(row))


class Groups(_OfOne):
    """The security groups of an instance."""

    @says(RulesShape, sends=GroupsForm, tag=TAG, operation_id="instances_set_groups")
    def put(self, _request: Request, instance: str) -> Response:
        """Have an instance be in these security groups, and no others."""
        row = security_groups.set_groups(self.account, self.row(instance).pk, self.sent(GroupsForm)["groups"])
        return Response(access_pictures.rules_of(row))


class RemoteDesktop(_OfOne):
    """The remote desktop of an instance."""

    @says(RemoteDesktopShape, tag=TAG, operation_id="instances_remote_desktop")
    def get(self, _request: Request, instance: str) -> Response:
        """Make the file that viewers of remote desktops (RDP) open; refused while nothing leads there."""
        row = self.row(instance)
        return Response({"name": f"{row.name}.rdp", "text": remote_desktop.file(row)})
