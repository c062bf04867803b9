"""Which hosts each network spans: told to the nodes that have guests in it, and part of the cluster's own plan."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from cc.services.office import Office
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import SegmentsSet
from luhyaapi.contracts.specs import SEGMENTS, SegmentSpan
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.edge import routes
from luhyadb import outbox
from luhyadb.models import AddressLease, Child, Placement, Segment

_AGAIN_S = 30.0


@dataclass(frozen=True)
class Said:
    """What a node was told last, with that number, and when."""

    number: int
    segments: tuple[SegmentSpan, ...]
    at: float


def vni_of(cluster: str, number: int) -> int:
    """The number on the wire: clusters of one LAN have different ones, as far as twelve bits tell them apart."""
    return (zlib.crc32(cluster.encode()) % SEGMENTS + 1) << 12 | number


def tell(office: Office) -> int:
    """Tell the nodes that do not know it which hosts their networks span; how many. In a transaction of the caller's."""
    if not Segment.objects.exists() and not office.segments:
        return 0
    ways = _ways(office)
    within = _within(office, ways)
    spans = {node: _spans(office, node, ways, within) for node in ways if node != office.agent.me}
    told = 0
    for node in Child.objects.filter(role=Role.NC, pk__in=spans):
        if SegmentsSet.kind in node.speaks and _must_hear(office, node.pk, spans[node.pk]):
            heard = office.facts[node.pk].segments if node.pk in office.facts else 0
            number = max(int(clock.now() * 1000), heard + 1)
            outbox.send(SegmentsSet(number=number, segments=spans[node.pk]), node.pk, sender=office.agent.me, task=ids.new("tsk"))
            office.segments[node.pk] = Said(number, spans[node.pk], clock.now())
            told += 1
    return told


def own(office: Office) -> dict[int, SegmentSpan]:
    """By its number, how each network spans from the cluster's own host."""
    if not Segment.objects.exists():
        return {}
    ways = _ways(office)
    return {each.segment: each for each in _spans(office, office.agent.me, ways, _within(office, ways))}


def _must_hear(office: Office, node: str, spans: tuple[SegmentSpan, ...]) -> bool:
    said, facts = office.segments.get(node), office.facts.get(node)
    if said is None:
        return bool(spans) or bool(facts and facts.segments)
    if said.segments != spans:
        return True
    return facts is not None and facts.segments != said.number and abs(clock.now() - said.at) > _AGAIN_S


def _ways(office: Office) -> dict[str, str]:
    """The addresses of the hosts of this cluster that are not the cluster's own, and that of the cluster."""
    ours = routes.address_in(office.door)
    if not ours:
        return {}
    others = {pk: routes.address_in(door) for pk, door in Child.objects.filter(role=Role.NC).values_list("pk", "address")}
    return {office.agent.me: ours} | {pk: address for pk, address in others.items() if address not in ("", ours)}


def _within(office: Office, ways: Mapping[str, str]) -> dict[int, set[str]]:
    """By its number, the hosts a network has guests on; and the cluster, which serves it."""
    nodes = dict(Placement.objects.filter(node__in=ways).values_list("pk", "node"))
    numbers = dict(Segment.objects.values_list("pk", "number"))
    within: dict[int, set[str]] = {}
    for instance, network in AddressLease.objects.filter(instance__in=nodes, network__in=numbers).values_list("instance", "network"):
        within.setdefault(numbers[network], {office.agent.me}).add(nodes[instance])
    return within


def _spans(office: Office, host: str, ways: Mapping[str, str], within: Mapping[int, set[str]]) -> tuple[SegmentSpan, ...]:
    """How the networks that ``host`` is in reach the others from there."""
    return tuple(
        SegmentSpan(
            segment=number, vni=vni_of(office.agent.me, number), local=ways[host],
            peers=tuple(sorted((ways[each] for each in hosts - {host}), key=ipaddress.IPv4Address)),
        ) for number, hosts in sorted(within.items()) if host in hosts
    )
