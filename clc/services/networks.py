"""Networks of clusters: made, changed, given up: the only writer of Network."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db.models import QuerySet

from clc.services import cards, events, plans, pools, reservations
from luhyaapi import clock, ids, subnets
from luhyaapi.contracts.commands import NetworksSet
from luhyaapi.contracts.specs import SEGMENTS
from luhyaapi.contracts.vocabulary import HostState, NetworkMode
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, ElasticAddress, Forward, Host, Network

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_RANGES = 64


@dataclass(frozen=True)
class Ask:
    """A network an administrator asks for. ``subnet`` in CIDR; ``ranges`` as ``first-last``, none: all of it.

    ``way_out``: its guests reach what lies outside of the cluster; ``isolated``: they do not reach each other. ``gateway`` is the router
    of a campus network; empty: its first address. ``subnet6``: its IPv6 side, a /64; empty: it has none.
    """

    cluster: str
    name: str
    subnet: str
    mode: str = NetworkMode.CLUSTER
    ranges: Sequence[str] = ()
    way_out: bool = True
    isolated: bool = False
    gateway: str = ""
    subnet6: str = ""


def create(account: Account, ask: Ask) -> Network:
    """A new network, told to its cluster. Raises Refused(forbidden | not_found | invalid | exists | conflict | quota | state)."""
    scope.require_admin(account)
    if not _NAME.fullmatch(ask.name) or ask.name == cards.DEFAULT:
        raise Refused("invalid", "The name is not possible", "letters, digits, dot, dash and underscore, at most 63, and not default", field="name")
    if ask.mode not in list(NetworkMode):
        raise Refused("invalid", "mode is not possible", f"give {' or '.join(NetworkMode)}, not {ask.mode[:20]!r}", field="mode")
    subnet = _subnet(ask.subnet)
    ranges, gateway, subnet6 = _ranges(subnet, ask.ranges), _gateway(subnet, ask), _subnet6(ask)
    with memory.atomic():
        cluster = _able(pools.cluster(account, ask.cluster))
        if ask.mode != NetworkMode.CAMPUS:
            refuse_hosts(cluster, [range(whole(subnet)[0], whole(subnet)[1] + 1)], "subnet")
        plan = plans.alone_of_all(cluster) if ask.mode == NetworkMode.CAMPUS else plans.alone(cluster)
        live = list(Network.objects.filter(cluster=cluster, retired_at=0))
        if any(each.live_name == ask.name for each in live):
            raise Refused("exists", f"The cluster has a network {ask.name!r} already", field="name")
        own_one = {cards.DEFAULT: cluster.subnet} if cluster.subnet else {}
        _refuse_overlap(subnet, {each.name: each.subnet for each in live} | own_one)
        if ask.mode == NetworkMode.CAMPUS:
            _refuse_lent_elsewhere(cluster, spans(subnet, ranges))
        _refuse_subnet6(cluster, subnet6, ask.mode)
        _refuse_public(cluster, subnet, _router(subnet, gateway) if ask.mode == NetworkMode.CAMPUS else whole(subnet))
        used = {each.live_number for each in live}
        number = next((n for n in range(1, SEGMENTS + 1) if n not in used), 0)
        if not number:
            raise Refused("quota", "The cluster has too many networks", f"at most {SEGMENTS}")
        row = Network.objects.create(
            id=ids.new("net"), cluster=cluster, name=ask.name, live_name=ask.name, mode=ask.mode, number=number, live_number=number,
            subnet=str(subnet), gateway=gateway, ranges=ranges, way_out=ask.way_out, isolated=ask.isolated, subnet6=subnet6, created_at=clock.now(),
        )
        events.record("network", row.pk, "network made", owner=account, name=row.name, subnet=row.subnet)
        plans.tell(cluster, plan)
    return row


def set_ranges(account: Account, ident: str, given: Sequence[str]) -> Network:
    """Lend these ranges of a network from now on; none: all of it. What is lent outside of them stays lent, and is not lent again after that.

    Raises Refused(forbidden | not_found | invalid | conflict).
    """
    scope.require_admin(account)
    with memory.atomic():
        row = cards.resolve(account, ident)
        ranges = _ranges(subnets.subnet_of(row.subnet), given)
        plan = plans.alone_of_all(row.cluster) if row.mode == NetworkMode.CAMPUS else plans.alone(row.cluster)
        if ranges != row.ranges:
            if row.mode == NetworkMode.CAMPUS:
                _refuse_lent_elsewhere(row.cluster, spans(subnets.subnet_of(row.subnet), ranges))
            before, row.ranges = row.ranges, ranges
            Network.objects.filter(pk=row.pk).update(ranges=ranges)
            events.record("network", row.pk, "ranges of the network changed", owner=account, name=row.name, ranges=", ".join("-".join(each) for each in ranges),
                          before={"ranges": before}, after={"ranges": ranges})
            plans.tell(row.cluster, plan)
    return row


def retire(account: Account, ident: str) -> Network:
    """Give a network up. Raises Refused(forbidden | not_found), Refused(state) while instances have cards in it."""
    scope.require_admin(account)
    with memory.atomic():
        row = cards.resolve(account, ident)
        plan = plans.alone(row.cluster)
        Network.objects.select_for_update().get(pk=row.pk)  # nobody gets a card in it meanwhile
        names = cards.users(row).values_list("name", flat=True)
        if names:
            raise Refused("state", "The network cannot be given up", f"{len(names)} instances have cards in it: {', '.join(names[:5])}",
                          hint="Delete them first.")
        reservations.forget_network(row)
        Network.objects.filter(pk=row.pk).update(live_name=None, live_number=None, retired_at=clock.now())
        events.record("network", row.pk, "network given up", owner=account, name=row.name)
        plans.tell(row.cluster, plan)
    return row


def _able(cluster: Host) -> Host:
    if NetworksSet.kind not in cluster.speaks:
        raise Refused("state", "The cluster cannot have networks of its own yet", f"{cluster.name} runs an older version", hint="Update it first.")
    return cluster


def _subnet(text: str) -> ipaddress.IPv4Network:
    try:
        return subnets.subnet_of(text)
    except Refused as e:
        raise Refused(e.code, e.what, e.why, field="subnet") from e


def _ranges(subnet: ipaddress.IPv4Network, given: Sequence[str]) -> list[list[str]]:
    if len(given) > _RANGES:
        raise Refused("invalid", "Too many ranges", f"at most {_RANGES}", field="ranges")
    ranges = []
    for text in given:
        try:
            first, last = (ipaddress.IPv4Address(end.strip()) for end in (text.split("-") if "-" in text else (text, text)))
        except ValueError as e:
            raise Refused("invalid", "A range cannot be read", f"{text[:60]!r}: give first-last", field="ranges") from e
        if first > last or first not in subnet or last not in subnet:
            raise Refused("invalid", "A range is not of the network", f"{first}-{last} and {subnet}", field="ranges")
        ranges.append([str(first), str(last)])
    for before, after in itertools.pairwise(sorted(ranges, key=lambda each: ipaddress.IPv4Address(each[0]))):
        if ipaddress.IPv4Address(after[0]) <= ipaddress.IPv4Address(before[1]):
            raise Refused("invalid", "Two ranges overlap", f"{'-'.join(before)} and {'-'.join(after)}", field="ranges")
    return ranges


def _gateway(subnet: ipaddress.IPv4Network, ask: Ask) -> str:
    """The router of a campus network, when it is not the first address."""
    if not ask.gateway:
        return ""
    if ask.mode != NetworkMode.CAMPUS:
        raise Refused("invalid", "The gateway of this network is its first address", "only a campus network has a router of its own", field="gateway")
    try:
        one = ipaddress.IPv4Address(ask.gateway)
    except ValueError as e:
        raise Refused("invalid", "The gateway is not possible", str(e), field="gateway") from e
    if one not in subnet or one in (subnet.network_address, subnet.broadcast_address):
        raise Refused("invalid", "The gateway is not possible", f"{one} is no host's address of {subnet}", field="gateway")
    return str(one)


def _subnet6(ask: Ask) -> str:
    if not ask.subnet6:
        return ""
    try:
        subnet = subnets.subnet6_of(ask.subnet6)
    except Refused as e:
        raise Refused(e.code, e.what, e.why, hint="A /64 of fc00::/7 for inside alone, or one that your routers lead to the cluster.", field="subnet6") from e
    if ask.mode == NetworkMode.NODE and not subnets.is_unique_local(subnet):
        raise Refused("invalid", "The IPv6 network is not possible", f"a network of mode node is on each node for itself, so no router leads to {subnet}",
                      hint="Give a /64 of fc00::/7.", field="subnet6")
    return str(subnet)


def _refuse_subnet6(cluster: Host, subnet6: str, mode: str) -> None:
    """Routers lead a global one to one cluster; of the campus it is for all. A unique local one is each cluster's own, as the others are."""
    if not subnet6:
        return
    is_local = subnets.is_unique_local(ipaddress.IPv6Network(subnet6))
    rows = Network.objects.filter(retired_at=0, subnet6=subnet6).exclude(cluster__state=HostState.RETIRED)
    own_ones = Host.objects.filter(subnet6=subnet6).exclude(state=HostState.RETIRED)
    if is_local:
        rows, own_ones = rows.filter(cluster=cluster), own_ones.filter(pk=cluster.pk)
    elif mode == NetworkMode.CAMPUS:
        rows = rows.exclude(mode=NetworkMode.CAMPUS) | rows.filter(cluster=cluster)
    for name, where in (*((row.name, row.cluster.name) for row in rows.select_related("cluster")), *((cards.DEFAULT, host.name) for host in own_ones)):
        raise Refused("conflict", f"{subnet6} is another network's", f"{name} of the cluster {where} has it", hint="Choose another /64.", field="subnet6")


def _refuse_overlap(subnet: ipaddress.IPv4Network, others: Mapping[str, str]) -> None:
    for name, text in others.items():
        if ipaddress.IPv4Network(text).overlaps(subnet):
            raise Refused("conflict", f"{subnet} overlaps with another network", f"{name} of this cluster is {text}", field="subnet")


def _refuse_public(cluster: Host, subnet: ipaddress.IPv4Network, among: tuple[int, int]) -> None:
    row = ElasticAddress.objects.filter(cluster=cluster, live_address__isnull=False, number__range=among).first()
    if row is not None:
        raise Refused("conflict", f"{subnet} overlaps with public addresses", f"{row.address} is one of this cluster", field="subnet")


def _refuse_lent_elsewhere(cluster: Host, lent: Sequence[tuple[int, int]]) -> None:
    """The campus is one network for all clusters: an address of it is lent by one of them, or is a host's, or nobody's."""
    for row in campuses_beside(cluster):
        for first, last in spans(ipaddress.IPv4Network(row.subnet), row.ranges):
            for begin, end in lent:
                if begin <= last and first <= end:
                    raise Refused(
                        "conflict", "Another cluster lends these addresses of the campus",
                        f"{row.name} of {row.cluster.name} lends {ipaddress.IPv4Address(first)}-{ipaddress.IPv4Address(last)}",
                        hint="Give each cluster ranges of its own.", field="ranges",
                    )
    for begin, end in lent:
        row = ElasticAddress.objects.filter(live_address__isnull=False, number__range=(begin, end)).select_related("cluster").first()
        if row is not None:
            raise Refused("conflict", f"{row.address} is a public address already", f"the cluster {row.cluster.name} has it", field="ranges")
    refuse_hosts(cluster, [range(begin, end + 1) for begin, end in lent], "ranges")


def refuse_hosts(cluster: Host, among: Sequence[Container[int]], field: str) -> None:
    """Raises Refused(conflict) where an address by which a host, or by a port of the cluster an instance, is reached is among these."""
    for host in Host.objects.exclude(state=HostState.RETIRED).exclude(address=""):
        if (number := number_of(host)) is not None and any(number in each for each in among):
            raise Refused("conflict", "A host has one of these addresses", f"the host {host.name} is at {host.address}", field=field)
    for address in Forward.objects.filter(instance__cluster=cluster.pk).exclude(address="").order_by().values_list("address", flat=True).distinct():
        if any(int(ipaddress.IPv4Address(address)) in each for each in among):
            raise Refused("conflict", "A host has one of these addresses", f"ports of {cluster.name} are reached at {address}", field=field)


def campuses_beside(cluster: Host) -> QuerySet[Network]:
    """The campus networks of all other clusters."""
    live = Network.objects.filter(mode=NetworkMode.CAMPUS, retired_at=0).exclude(cluster__state=HostState.RETIRED)
    return live.exclude(cluster=cluster).select_related("cluster")


def held(row: Network) -> list[tuple[int, int]]:
    """First and last of what no public address of its cluster may be: of the campus, which is not the cluster's, what it lends and its router."""
    subnet = ipaddress.IPv4Network(row.subnet)
    return [*spans(subnet, row.ranges), _router(subnet, row.gateway)] if row.mode == NetworkMode.CAMPUS else [whole(subnet)]


def whole(subnet: ipaddress.IPv4Network) -> tuple[int, int]:
    """First and last of a subnet, as numbers."""
    return int(subnet.network_address), int(subnet.broadcast_address)


def _router(subnet: ipaddress.IPv4Network, gateway: str) -> tuple[int, int]:
    number = int(ipaddress.IPv4Address(gateway or subnets.gateway_of(subnet)))
    return number, number


def spans(subnet: ipaddress.IPv4Network, ranges: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """First and last of what a network lends, as numbers."""
    if not ranges:
        return [(int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1)]
    return [(int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))) for first, last in ranges]


def number_of(host: Host) -> int | None:
    """The IPv4 address by which others reach a host, as a number, when it is one."""
    try:
        return int(ipaddress.IPv4Address(urlsplit(host.address).hostname or ""))
    except ValueError:
        return None
