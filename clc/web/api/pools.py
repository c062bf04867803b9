"""/api/v1/networks/<network>/leases/, .../usage/, .../reservations/: what is lent of a network, for administrators."""

from __future__ import annotations

import ipaddress

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import leases, network_pictures, pools, reservations
from clc.web.api.endpoint import Endpoint
from clc.web.api.networks import TAG
from clc.web.api.once import once
from clc.web.api.shapes import KEY, asks, listed, says, word
from clc.web.rest import Form, Text, asked_limit, narrowed, page
from luhyaapi.contracts.vocabulary import LeaseState
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Network

_ETHERS_AT_MOST = 512 * 1024


class LeaseShape(s.Serializer):
    """An address that is not free."""

    address = s.CharField()
    state = word(LeaseState)
    mac = s.CharField(allow_blank=True, help_text="Of its card, or of who else answers for it.")
    instance = s.CharField(allow_null=True)
    name = s.CharField(allow_blank=True)
    owner = s.CharField(allow_blank=True)
    since = s.DateTimeField(allow_null=True)
    until = s.DateTimeField(allow_null=True, help_text="When it may be lent again.")
    seen_at = s.DateTimeField(allow_null=True, help_text="When it was heard last in the network, if its cluster hears it.")


class StretchShape(s.Serializer):
    """Addresses in a row that stand alike."""

    state = word(LeaseState)
    first = s.CharField()
    last = s.CharField()
    count = s.IntegerField()


class UsageShape(s.Serializer):
    """How each address of a network stands."""

    id = s.CharField()
    name = s.CharField()
    subnet = s.CharField()
    counts = s.DictField(child=s.IntegerField())
    stretches = StretchShape(many=True)


class ReservationShape(s.Serializer):
    """An address that nobody is lent by chance."""

    address = s.CharField()
    mac = s.CharField(allow_blank=True)
    owner = s.CharField(allow_blank=True)
    name = s.CharField(allow_blank=True)
    created_at = s.DateTimeField()


class ReservationForm(Form):
    """An address to reserve."""

    address = Text(max_length=15)
    mac = Text(max_length=17, required=False, allow_blank=True, default="", help_text="Of the card that shall have it; without an owner it is no guest's.")
    owner = Text(max_length=150, required=False, allow_blank=True, default="", help_text="The user whose instance gets it.")
    name = Text(max_length=63, required=False, allow_blank=True, default="", help_text="Only the instance of that name gets it.")


class EthersForm(Form):
    """An ethers file, and whose its addresses shall be."""

    ethers = Text(max_length=_ETHERS_AT_MOST, lines=True, help_text="Lines of a MAC and an address, or the name of an instance.")
    owner = Text(max_length=150, required=False, allow_blank=True, default="")


class Leases(Endpoint):
    """What of a network is not free."""

    @says(listed("Lease", LeaseShape), parameters=asks(), tag=TAG, operation_id="networks_leases")
    def get(self, request: Request, network: str) -> Response:
        """List what is lent, rests, is reserved or somebody else's, by address; its cluster is asked for each page."""
        narrowed(request, scope.visible_to(self.account, Network), {})
        limit, after = asked_limit(request, leases.AT_MOST), request.query_params.get("cursor", "")
        _pool, facts = leases.read(self.account, network, _address(after) if after else "", limit)
        following = None
        if facts.more:
            query = request.query_params.copy()
            query["cursor"] = facts.leases[-1].address
            following = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
        return Response({"results": leases.pictures(facts), "next": following})


def _address(cursor: str) -> str:
    try:
        return str(ipaddress.IPv4Address(cursor))
    except ValueError as e:
        raise Refused("invalid", "The cursor is not one of ours", "take it from the page before", field="cursor") from e


class Usage(Endpoint):
    """How the addresses of a network stand."""

    @says(UsageShape, tag=TAG, operation_id="networks_usage")
    def get(self, _request: Request, network: str) -> Response:
        """Have its cluster say how each address of a network stands."""
        return Response(network_pictures.usage(*leases.read(self.account, network, limit=1, usage=True)))


class Reservations(Endpoint):
    """Reserved addresses of a network."""

    @says(listed("Reservation", ReservationShape), parameters=asks(), tag=TAG, operation_id="reservations_list")
    def get(self, request: Request, network: str) -> Response:
        """List what is reserved."""
        rows = narrowed(request, reservations.of(pools.resolve(self.account, network)), {})
        return page(request, rows, network_pictures.reservations, by="number", newest=False)

    @says(ReservationShape, 201, sends=ReservationForm, parameters=[KEY], tag=TAG, operation_id="reservations_create")
    @once
    def post(self, _request: Request, network: str) -> Response:
        """Reserve an address."""
        made = reservations.add(self.account, network, reservations.Ask(**self.sent(ReservationForm)))
        return Response(network_pictures.reservations([made])[0], status=201)


class OneReservation(Endpoint):
    """One reserved address."""

    @says(None, 204, tag=TAG, operation_id="reservations_delete")
    def delete(self, _request: Request, network: str, address: str) -> Response:
        """Reserve an address no more; who has it keeps it."""
        reservations.remove(self.account, network, address)
        return Response(status=204)


class Ethers(Endpoint):
    """Reservations from a file."""

    @says(listed("BroughtIn", ReservationShape), 201, sends=EthersForm, parameters=[KEY], tag=TAG, operation_id="reservations_import")
    @once
    def post(self, _request: Request, network: str) -> Response:
        """Reserve what the lines of an ethers file say, all of them or none; answers what is new."""
        given = self.sent(EthersForm)
        made = reservations.bring_in(self.account, network, given["ethers"], given["owner"])
        return Response({"results": network_pictures.reservations(made), "next": None}, status=201)
