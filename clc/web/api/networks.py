"""/api/v1/networks/: networks of clusters, beside the one of their settings."""

from __future__ import annotations

from typing import ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import cards, network_pictures, networks
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, asks, listed, says, word
from clc.web.rest import Filters, Form, Text, exactly, narrowed, page
from luhyaapi.contracts.vocabulary import NetworkMode
from luhyadb import scope
from luhyadb.models import Network

TAG = "networks"


class NetworkShape(serializers.Serializer):
    """A network."""

    id = serializers.CharField()
    name = serializers.CharField()
    mode = word(NetworkMode)
    cluster = serializers.CharField()
    cluster_name = serializers.CharField()
    number = serializers.IntegerField()
    subnet = serializers.CharField()
    gateway = serializers.CharField()
    ranges = serializers.ListField(child=serializers.CharField())
    way_out = serializers.BooleanField(help_text="Its guests reach what lies outside of the cluster.")
    isolated = serializers.BooleanField(help_text="Its guests do not reach each other.")
    addresses = serializers.IntegerField(help_text="How many may be lent.")
    instances = serializers.IntegerField(help_text="How many have a card in it.")
    created_at = serializers.DateTimeField()


class NetworkForm(Form):
    """A new network."""

    name = Text(max_length=63)
    subnet = Text(max_length=18, help_text="In CIDR, /16 to /29; its first address is the gateway's.")
    cluster = Text(max_length=63, required=False, allow_blank=True, default="", help_text="Id or name; may be left out where there is one.")
    mode = Text(max_length=20, required=False, default=NetworkMode.CLUSTER)
    ranges = serializers.ListField(child=Text(max_length=40), required=False, default=list, max_length=64,
                                   help_text="`first-last` of what is lent; none: all of it.")
    gateway = Text(max_length=15, required=False, allow_blank=True, default="", help_text="The router of a campus network; empty: its first address.")
    way_out = serializers.BooleanField(required=False, default=True, help_text="Its guests reach what lies outside of the cluster.")
    isolated = serializers.BooleanField(required=False, default=False, help_text="Its guests do not reach each other.")


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
        """Show a network."""
        return Response(network_pictures.networks([cards.resolve(self.account, network)])[0])

    @says(None, 204, tag=TAG, operation_id="networks_delete")
    def delete(self, _request: Request, network: str) -> Response:
        """Give a network up."""
        networks.retire(self.account, network)
        return Response(status=204)
