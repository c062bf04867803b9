"""The edge of a node as a plan: what each tap may say, the networks that end here, and what reaches their guests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from luhyaapi import log
from luhyaapi.conf import bridge_for, rules_of
from luhyaapi.contracts.specs import Nic
from luhyaapi.contracts.vocabulary import NetworkMode, Role
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.edge.plan import Card, Forward, RulesPlan, Segment, both
from luhyaapi.subnets import bridge_mac, gateway6_of, link_local
from nc.drivers.base import NodeEdge, tap_name

_log = log.get(__name__)
_CAMPUS = "campus"


@dataclass(frozen=True)
class Here:
    """What a node knows of itself: its uplinks, and the addresses at which its users and its cluster come to it."""

    uplinks: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def served(bridge: str, edge: NodeEdge) -> tuple[EdgeNetwork, ...]:
    """The networks whose gateway and DHCP server is this node."""
    found: dict[int, EdgeNetwork] = {}
    for instance, nic in _cards(edge):
        if nic.mode is NetworkMode.NODE:
            lease = EdgeLease(instance=instance, mac=nic.mac, ip=nic.ip, hostname=edge.guests[instance].name)
            before = found.get(nic.segment) or EdgeNetwork(
                bridge=bridge_for(bridge, nic), subnet=nic.subnet, gateway=nic.gateway, way_out=nic.way_out, subnet6=nic.subnet6)
            found[nic.segment] = before.model_copy(update={"leases": (*before.leases, lease)})
    return tuple(found.values())


def plan(bridge: str, edge: NodeEdge, here: Here) -> RulesPlan:
    """A function of what it is given. Of two cards that claim one address the first has it."""
    listed = list(_cards(edge))
    segments: dict[str, Segment] = {}
    for _, nic in listed:
        name = _segment_of(nic)
        segments[name] = _joined(segments[name], nic) if name in segments else _segment(bridge, nic)
    ips = {instance: guest.nics[0].ip for instance, guest in edge.guests.items() if guest.nics}
    judged = {NetworkMode.NODE, NetworkMode.CAMPUS}
    return RulesPlan(
        name=rules_of(Role.NC, bridge), uplinks=here.uplinks, segments=tuple(segments.values()),
        cards=tuple(
            Card(
                tap=tap_name(instance, nic.mac), mac=nic.mac, addresses=both(nic.ip, nic.ip6), segment=_segment_of(nic),
                allow=edge.allow.get(instance, ()) if nic.mode in judged else (),
            ) for instance, nic in listed
        ),
        forwards=tuple(
            Forward(protocol=f.protocol, address=address, port=f.port, to=ips[f.instance], to_port=f.guest_port, sources=f.sources)
            for f in edge.forwards if f.instance in ips for address in here.addresses
        ),
    )


def _cards(edge: NodeEdge) -> Iterator[tuple[str, Nic]]:
    claimed: set[str] = set()
    listed = [(instance, nic) for instance, guest in edge.guests.items() for nic in guest.nics if nic.subnet and nic.gateway]
    for instance, nic in sorted(listed, key=lambda each: (each[0], each[1].mac)):
        if claimed & {nic.mac, nic.ip}:
            _log.warning("an address is on two cards of this node", instance=instance, mac=nic.mac, ip=nic.ip)
            continue
        claimed |= {nic.mac, nic.ip}
        yield instance, nic


def _segment_of(nic: Nic) -> str:
    return _CAMPUS if nic.mode is NetworkMode.CAMPUS else f"n{nic.segment}"


def _segment(bridge: str, nic: Nic) -> Segment:
    segment = Segment(
        name=_segment_of(nic), bridge=bridge_for(bridge, nic), subnets=both(nic.subnet, nic.subnet6), talk=not nic.isolated, metadata=True)
    if nic.mode is NetworkMode.CAMPUS:
        return segment.model_copy(update={"routers": (nic.gateway,), "shared": True})
    if nic.mode is NetworkMode.NODE:
        return segment.model_copy(update={"gateway": True, "way_out": nic.way_out})
    sixth = (gateway6_of(nic.subnet6), link_local(bridge_mac(nic.gateway))) if nic.subnet6 else ()
    return segment.model_copy(update={"judged": True, "routers": (nic.gateway, *sixth)})


def _joined(segment: Segment, nic: Nic) -> Segment:
    """Networks of the campus share their bridge; of the others each card says the same."""
    if segment.name != _CAMPUS or {*both(nic.subnet, nic.subnet6)} <= {*segment.subnets}:
        return segment
    return segment.model_copy(update={
        "subnets": tuple(dict.fromkeys((*segment.subnets, *both(nic.subnet, nic.subnet6)))), "routers": tuple(dict.fromkeys((*segment.routers, nic.gateway))),
        "talk": segment.talk and not nic.isolated,
    })
