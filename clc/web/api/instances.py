"""/api/v1/instances/: virtual machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import access_pictures, groups, instance_asks, instances, pictures, renewals, screens
from clc.web.api.access_shapes import OneInstanceShape
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, InstanceShape, TicketShape, WhyShape, asks, listed, many, says
from clc.web.rest import Filters, Form, Given, Nothing, Text, Whole, accepted, exactly, narrowed, page
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import InstanceState, Usage
from luhyadb import scope
from luhyadb.models import Instance

TAG = "instances"


class RunForm(Form):
    """A new instance, or several alike."""

    image = Text(max_length=80, help_text="Name or id of the image; `name:version` for a certain version.")
    name = Text(max_length=63, required=False, allow_blank=True, default="")
    cpus = Whole(required=False, allow_null=True, default=None)
    memory_bytes = Whole(required=False, allow_null=True, default=None)
    count = Whole(required=False, default=1)
    kind = Text(max_length=20, required=False, allow_blank=True, default="")
    persistence = Text(max_length=20, required=False, allow_blank=True, default="", help_text="`transient`: its system disk is reset when it stops.")
    data_disk_bytes = Whole(required=False, allow_null=True, default=None, help_text="Size of a disk of its own that stays; null: none.")
    user_data = Given(required=False, allow_blank=True, default="", help_text="Handed to the guest's cloud-init, at most 64 KiB; not readable again.")
    first_boot_offline = serializers.BooleanField(required=False, default=False,
                                                 help_text="Its cards have no carrier until the guest says that its first boot is done.")
    expires = Text(max_length=40, required=False, allow_blank=True, default="",
                   help_text="When it ends: `7d`, `12h`, a date (when that day is over), RFC 3339 or `never`; empty: as its group says.")
    ssh_keys = serializers.ListField(child=Text(max_length=8192), required=False, default=list, max_length=16)
    networks = serializers.ListField(child=Text(max_length=63), required=False, default=list, max_length=8,
                                     help_text="Names or ids: a card in each, in that order; none: one in the cluster's own, `default`.")
    groups = serializers.ListField(child=Text(max_length=63), required=False, default=list, max_length=8,
                                   help_text="Names or ids of security groups; none: nothing is let in from outside.")


class StopForm(Form):
    """How long to ask politely."""

    grace_s = Whole(required=False, default=30)


class RestoreForm(Form):
    """Which version the new system disk is made from."""

    version = Text(max_length=20, required=False, allow_blank=True, default="", help_text="`newest` or a number; empty: the one it has.")


class Instances(Endpoint):
    """All instances one may see, newest first; deleted ones only when asked for with ``state``."""

    filters: ClassVar[Filters] = {
        "state": exactly("state", InstanceState), "name": exactly("name"), "image": exactly("image__image__name"),
        "owner": exactly("owner__username"), "kind": exactly("usage", Usage), "host": exactly("node"), "cluster": exactly("cluster"),
        "owner_group": lambda rows, asked: groups.belonging(rows, asked.split(",")),
    }

    @says(listed("Instance", InstanceShape), parameters=asks(*filters), tag=TAG, operation_id="instances_list")
    def get(self, request: Request) -> Response:
        """List instances. `owner_group` also finds the groups below it."""
        rows = narrowed(request, scope.visible_to(self.account, Instance), self.filters)
        if "state" not in request.query_params:
            rows = rows.exclude(state=InstanceState.DELETED)
        return page(request, rows, pictures.instances_of, columns=pictures.INSTANCE_COLUMNS)

    @says(many("Instance", InstanceShape), 202, sends=RunForm, parameters=[KEY], tag=TAG, operation_id="instances_run")
    @once
    def post(self, _request: Request) -> Response:
        """Run one or several new instances."""
        made = instances.run(self.account, instance_asks.Ask(**self.sent(RunForm)))
        return accepted(made[0].task, {"results": pictures.instances(made)})


class OneInstance(Endpoint):
    """One instance, by id or by its name if only one has it."""

    @says(OneInstanceShape, tag=TAG, operation_id="instances_show")
    def get(self, _request: Request, instance: str) -> Response:
        """Show an instance."""
        row = instances.resolve(self.account, instance)
        return Response(pictures.instance(row) | {"reached": access_pictures.reached(row)})

    @says(InstanceShape, 202, tag=TAG, operation_id="instances_delete")
    def delete(self, _request: Request, instance: str) -> Response:
        """Delete an instance and all that belongs to it."""
        row = instances.delete(self.account, instances.resolve(self.account, instance).pk)
        return accepted(row.task, pictures.instance(row))


def _acts(verb: str, says_: str, form: type[Form], act: Callable[..., Instance]) -> type[Endpoint]:
    class Act(Endpoint):
        @says(InstanceShape, 202, sends=form, parameters=[KEY], tag=TAG, operation_id=f"instances_{verb}", description=says_)
        @once
        def post(self, _request: Request, instance: str) -> Response:
            given: dict[str, Any] = self.sent(form)
            row = act(self.account, instances.resolve(self.account, instance).pk, **given)
            return accepted(row.task, pictures.instance(row))

    Act.__name__ = Act.__qualname__ = verb.capitalize()
    return Act


Stop = _acts("stop", "Stop an instance: asked politely, by force after grace_s seconds.", StopForm, instances.stop)
Reboot = _acts("reboot", "Stop and start an instance in its place.", StopForm, instances.reboot)
Connect = _acts("connect", "Give an instance its network, whether or not its first boot is done.", Nothing, instances.connect)
Restore = _acts("restore", "Make the system disk anew, stopping and starting what runs: all on it is lost, a data disk and the addresses stay.",
                RestoreForm, renewals.restore)
Start = _acts("start", "Run a stopped instance again.", Nothing, instances.start)


class Why(Endpoint):
    """Why an instance is where it is."""

    @says(WhyShape, tag=TAG, operation_id="instances_why")
    def get(self, _request: Request, instance: str) -> Response:
        """Show which node was chosen, and why each other was not."""
        return Response(pictures.why(instances.resolve(self.account, instance)))


class Screen(Endpoint):
    """Tickets for the screen of an instance."""

    @says(TicketShape, 201, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="instances_screen")
    @once
    def post(self, _request: Request, instance: str) -> Response:
        """Make a ticket that opens the screen once, within a minute."""
        self.sent(Nothing)
        return _ticket("screen", screens.open_look(self.account, instances.resolve(self.account, instance).pk))


class Serial(Endpoint):
    """Tickets for the serial console of an instance."""

    @says(TicketShape, 201, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="instances_serial")
    @once
    def post(self, _request: Request, instance: str) -> Response:
        """Make a ticket that opens the serial console once, within a minute: what was written last, then bytes both ways."""
        self.sent(Nothing)
        return _ticket("serial", screens.open_look(self.account, instances.resolve(self.account, instance).pk, "serial"))


class TunnelForm(Form):
    """Which port of the instance."""

    port = Whole(min_value=1, max_value=65535, help_text="TCP port of the instance.")


class Tunnel(Endpoint):
    """Tickets for lines to ports of an instance."""

    @says(TicketShape, 201, sends=TunnelForm, parameters=[KEY], tag=TAG, operation_id="instances_tunnel")
    @once
    def post(self, _request: Request, instance: str) -> Response:
        """Make a ticket that opens a line to a TCP port of the instance once, within a minute: bytes both ways."""
        row = instances.resolve(self.account, instance)
        return _ticket("tunnel", screens.open_look(self.account, row.pk, "tunnel", self.sent(TunnelForm)["port"]))


def _ticket(word: str, look: screens.Look) -> Response:
    return Response({"ticket": look.ticket, "url": f"/live/{word}/{look.ticket}", "expires_at": clock.rfc3339(look.expires_at)}, 201)
