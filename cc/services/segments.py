"""The edge of each node: which hosts its networks span, and what reaches guests it judges itself; told to it whole, and again."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cc.services.office import Office
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import SegmentsSet
from luhyaapi.contracts.specs import SEGMENTS, NodeAllow, NodeForward, SegmentSpan
from luhyaapi.contracts.vocabulary import SPANNING, NetworkMode, Role
from luhyaapi.edge import routes
from luhyadb import outbox
from luhyadb.models import AccessOrder, AddressLease, Child, ForwardLease, Placement, Segment

_AGAIN_S = 30.0

@dataclass(frozen=True)
class Word:
    """What a node is told."""

    segments: tuple[SegmentSpan, ...] = ()
    forwards: tuple[NodeForward, ...] = ()
    allow: tuple[NodeAllow, ...] = ()


@dataclass(frozen=True)
class Said:
    """What a node was told last, with that number, and when."""

    number: int
    word: Word
    at: float


@dataclass
class _Judged:
    """What reaches the guests of one node that judges it."""

    forwards: list[NodeForward] = field(default_factory=list)
    allow: list[NodeAllow] = field(default_factory=list)


def vni_of(cluster: str, number: int) -> int:
    """The number on the wire: clusters of one LAN have different ones, as far as twelve bits tell them apart."""
    return (zlib.crc32(cluster.encode()) % SEGMENTS + 1) << 12 | number


def tell(office: Office) -> int:
    """Tell the nodes that do not know it what their edge shall be; how many. In a transaction of the caller's."""
    if not Segment.objects.exists() and not office.segments:
        return 0
    ways = _ways(office)
    within, judged = _within(office, ways), _judged(ways.get(office.agent.me, ""))
    told = 0
    for node in Child.objects.filter(role=Role.NC):
        mine = judged.get(node.pk, _Judged())
        word = Word(_spans(office, node.pk, ways, within), tuple(mine.forwards), tuple(mine.allow))
        if SegmentsSet.kind in node.speaks and _must_hear(office, node.pk, word):
            heard = office.facts[node.pk].segments if node.pk in office.facts else 0
            number = max(int(clock.now() * 1000), heard + 1)
            order = SegmentsSet(number=number, segments=word.segments, forwards=word.forwards, allow=word.allow)
            outbox.send(order, node.pk, sender=office.agent.me, task=ids.new("tsk"))
            office.segments[node.pk] = Said(number, word, clock.now())
            told += 1
    return told


def own(office: Office) -> dict[int, SegmentSpan]:
    """By its number, how each network spans from the cluster's own host."""
    if not Segment.objects.exists():
        return {}
    ways = _ways(office)
    return {each.segment: each for each in _spans(office, office.agent.me, ways, _within(office, ways))}


def _must_hear(office: Office, node: str, word: Word) -> bool:
    said, facts = office.segments.get(node), office.facts.get(node)
    if said is None:
        return word != Word() or bool(facts and facts.segments)
    if said.word != word:
        return True
    return facts is not None and facts.segments != said.number and abs(clock.now() - said.at) > _AGAIN_S


def _judged(cluster: str) -> dict[str, _Judged]:
    """By node, what reaches guests whose networks end there. ``cluster``: its address, by which its own forwards come."""
    orders = dict(AccessOrder.objects.values_list("pk", "allow"))
    forwards = list(ForwardLease.objects.exclude(instance="").order_by("protocol", "port"))
    asked = {*(pk for pk, allow in orders.items() if allow), *(each.instance for each in forwards)}
    rows = Placement.objects.filter(pk__in=asked).values_list("pk", "node", "spec")
    places = {pk: (node, [card["mode"] for card in spec["nics"]]) for pk, node, spec in rows}
    found: dict[str, _Judged] = {}
    for each in forwards:
        node, modes = places.get(each.instance, ("", []))
        if modes[:1] == [NetworkMode.NODE]:
            sources = tuple(each.sources) + ((f"{cluster}/32",) if each.sources and cluster else ())
            found.setdefault(node, _Judged()).forwards.append(
                NodeForward(instance=each.instance, protocol=each.protocol, port=each.port, guest_port=each.guest_port, sources=sources))
    for pk, (node, modes) in sorted(places.items()):
        if orders.get(pk) and set(modes) - SPANNING:
            found.setdefault(node, _Judged()).allow.append(NodeAllow(instance=pk, allow=orders[pk]))
    return found


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
    numbers = {pk: number for pk, number, mode in Segment.objects.values_list("pk", "number", "spec__mode") if mode in (None, *SPANNING)}
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
