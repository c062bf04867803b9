"""The networks of this cluster: the one of its settings, and those its CLC wants beside it. The only writer of Segment, ElasticLink and ReservedAddress."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from cc.services import pool
from luhyaapi import conf, subnets
from luhyaapi.contracts.commands import NetworksSet
from luhyaapi.contracts.specs import NetworkSpec
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import ElasticLink, ReservedAddress, Segment

DEFAULT = "default"


def replace(order: NetworksSet) -> bool:
    """Have these networks and no others; false when a newer word was heard before."""
    with memory.atomic():
        pool.alone()
        if order.number <= pool.networks():
            return False
        Segment.objects.all().delete()
        ElasticLink.objects.all().delete()
        ReservedAddress.objects.all().delete()
        ElasticLink.objects.bulk_create(ElasticLink(address=each.address, instance=each.instance) for each in order.elastics)
        Segment.objects.bulk_create(Segment(id=n.id, number=n.number, spec=n.model_dump(mode="json")) for n in order.networks)
        ReservedAddress.objects.bulk_create(
            ReservedAddress(ip=each.address, network=each.network, mac=each.mac, owner=each.owner, name=each.name) for each in order.reservations
        )
        pool.heard_networks(order.number, order.ports)
        pool.turn()
    return True


def gateway_of(spec: NetworkSpec) -> str:
    """The router of its guests."""
    return spec.gateway or subnets.gateway_of(subnets.subnet_of(spec.subnet))


def may_have(spec: NetworkSpec, ip: str) -> bool:
    """Whether a card in it may have that address: a host's of its subnet, not its router's."""
    subnet = subnets.subnet_of(spec.subnet)
    one = ipaddress.IPv4Address(ip)
    return one in subnet and one not in (subnet.network_address, subnet.broadcast_address) and ip != gateway_of(spec)


def own(network: conf.Network) -> NetworkSpec:
    """The network of the settings."""
    return NetworkSpec(id=DEFAULT, name=DEFAULT, number=0, subnet=network.subnet, subnet6=network.subnet6)


def everyone(network: conf.Network) -> list[NetworkSpec]:
    """Every network, that of the settings first."""
    return [own(network), *(NetworkSpec.model_validate(spec) for spec in Segment.objects.order_by("number").values_list("spec", flat=True))]


def named(network: conf.Network, ids: Sequence[str]) -> list[NetworkSpec]:
    """Those networks, in that order; that of the settings for none. Raises Refused(not_found)."""
    if not set(ids) - {DEFAULT}:
        return [own(network)]
    known = {each.id: each for each in everyone(network)}
    if missing := [each for each in ids if each not in known]:
        raise Refused("not_found", "The cluster has no such network", ", ".join(missing), hint="It may have been removed just now; choose another.")
    return [known[each] for each in dict.fromkeys(ids)]
