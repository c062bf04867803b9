"""/api/v1/networks/: networks of clusters, beside the one of their settings."""

from __future__ import annotations

from typing import ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import cards, network_pictures, networks, pools, ports
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, asks, listed, says, word
from clc.web.rest import Filters, Form, Text, exactly, narrowed, page
from luhyaapi import ids
from luhyaapi.contracts.vocabulary import NetworkMode
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Network

TAG = "networks"


class PoolShape(serializers.Serializer):
    """How much is lent of something; `first` and `last` are ports, of addresses 0."""

    pool = serializers.CharField()
    first = serializers.IntegerField()
    last = serializers.IntegerField()
    size = serializers.IntegerField(help_text="All that may be lent.")
    free = serializers.IntegerField()
    lent = serializers.IntegerField()
    resting = serializers.IntegerField()
    reserved = serializers.IntegerField()
    taken = serializers.IntegerField(help_text="Somebody else answers for them.")


class NetworkShape(serializers.Serializer):
    """A network."""

    id = serializers.CharField()
    name = serializers.CharField()
    mode = word(NetworkMode)
    cluster = serializers.CharField()
    cluster_name = serializers.CharField()
    number = serializers.IntegerField()
    subnet = serializers.CharField()
    subnet6 = serializers.CharField(help_text="Its IPv6 side, a /64; empty: it has none.")
    gateway = serializers.CharField()
    ranges = serializers.ListField(child=serializers.CharField())
    way_out = serializers.BooleanField(help_text="Its guests reach what lies outside of the cluster.")
    isolated = serializers.BooleanField(help_text="Its guests do not reach each other.")
    addresses = serializers.IntegerField(help_text="How many may be lent.")
    instances = serializers.IntegerField(help_text="How many have a card in it.")
    macs = serializers.CharField(help_text="The first and the last MAC of its guests; each belongs to an address.")
    pool = PoolShape(allow_null=True, help_text="As its cluster said last.")
    ports = PoolShape(many=True, help_text="Of a cluster's own network: the ports it lends.")
    created_at = serializers.DateTimeField(allow_null=True)


class NetworkForm(Form):
    """A new network."""

    name = Text(max_length=63)
    subnet = Text(max_length=18, help_text="In CIDR, /16 to /29; its first address is the gateway's.")
    cluster = Text(max_length=63, required=False, allow_blank=True, default="", help_text="Id or name; may be left out where there is one.")
    mode = Text(max_length=20, required=False, default=NetworkMode.CLUSTER)
    ranges = serializers.ListField(child=Text(max_length=40), required=False, default=list, max_length=64,
                                   help_text="`first-last` of what is lent; none: all of it.")
    subnet6 = Text(max_length=43, required=False, allow_blank=True, default="",
                   help_text="Its IPv6 side, a /64, unique local or routed to the cluster; empty: IPv4 only.")
    gateway = Text(max_length=15, required=False, allow_blank=True, default="", help_text="The router of a campus network; empty: its first address.")
    way_out = serializers.BooleanField(required=False, default=True, help_text="Its guests reach what lies outside of the cluster.")
    isolated = serializers.BooleanField(required=False, default=False, help_text="Its guests do not reach each other.")


class LendForm(Form):
    """What is lent from now on: `ranges` of a network, `ports` of a cluster by its own one."""

    ranges = serializers.ListField(child=Text(max_length=40), required=False, max_length=64, help_text="`first-last`; none: all of it.")
    ports = Text(max_length=20, required=False, allow_blank=True, help_text="`first-last`; empty: those of the cluster's settings.")


class Networks(Endpoint):
    """All networks."""

    filters: ClassVar[Filters] = {"cluster": exactly("cluster"), "name": exactly("live_name"), "mode": exactly("mode", NetworkMode)}

    @says(listed("Network", NetworkShape), parameters=asks(*filters), tag=TAG, operation_id="networks_list")
    def get(self, request: Request) -> Response:
        """List networks."""
        rows = narrowed(request, scope.visible_to(self.account, Network).filter(retired_at=0), self.filters)
        return page(request, rows, network_pictures.networks)

    @says(NetworkShape, 201, sends=NetworkForm, parameters=[KEY], tag=TAG, operation_id="networks_create")
    @once
    def post(self, _request: Request) -> Response:
        """Make a network."""
        made = networks.create(self.account, networks.Ask(**self.sent(NetworkForm)))
        return Response(network_pictures.networks([made])[0], status=201)


class OneNetwork(Endpoint):
    """One network, by id or by its name if only one cluster has it."""

    @says(NetworkShape, tag=TAG, operation_id="networks_show")
    def get(self, _request: Request, network: str) -> Response:
        """Show a network; a cluster's own by the cluster's id, for administrators."""
        if ids.is_id(network, "cc"):
            return Response(network_pictures.own([pools.resolve(self.account, network).cluster])[0])
        return Response(network_pictures.networks([cards.resolve(self.account, network)])[0])

    @says(NetworkShape, sends=LendForm, tag=TAG, operation_id="networks_set")
    def patch(self, _request: Request, network: str) -> Response:
        """Lend other ranges of a network, or by a cluster's own one other ports; what is lent outside of them stays lent until it is given back."""
        given, is_own = self.sent(LendForm), ids.is_id(network, "cc")
        wanted = "ports" if is_own else "ranges"
        if list(given) != [wanted]:
            raise Refused("invalid", f"{wanted} is what can be changed here", "of a cluster's own network it is ports, of others ranges", field=wanted)
        if is_own:
            return Response(network_pictures.own([ports.lend(self.account, network, given["ports"])])[0])
        return Response(network_pictures.networks([networks.set_ranges(self.account, network, given["ranges"])])[0])

    @says(None, 204, tag=TAG, operation_id="networks_delete")
    def delete(self, _request: Request, network: str) -> Response:
        """Give a network up."""
        networks.retire(self.account, network)
        return Response(status=204)
