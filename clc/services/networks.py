"""Networks of clusters: made, given up, told to their cluster as a whole: the only writer of Network and NetworkPlan."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.db.models import QuerySet

from clc.services import cards, events
from clc.services.own import own
from luhyaapi import clock, ids, subnets
from luhyaapi.contracts.commands import NetworksSet
from luhyaapi.contracts.specs import SEGMENTS, ElasticSpec, NetworkSpec
from luhyaapi.contracts.vocabulary import HostState, NetworkMode, Role
from luhyaapi.errors import Refused
from luhyadb import memory, outbox, scope
from luhyadb.models import Account, ElasticAddress, Host, Network, NetworkPlan, Outbox

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_RANGES = 64


@dataclass(frozen=True)
class Ask:
    """A network an administrator asks for. ``subnet`` in CIDR; ``ranges`` as ``first-last``, none: all of it.

    ``way_out``: its guests reach what lies outside of the cluster; ``isolated``: they do not reach each other. ``gateway`` is the router
    of a campus network; empty: its first address.
    """

    cluster: str
    name: str
    subnet: str
    mode: str = NetworkMode.CLUSTER
    ranges: Sequence[str] = ()
    way_out: bool = True
    isolated: bool = False
    gateway: str = ""


def create(account: Account, ask: Ask) -> Network:
    """A new network, told to its cluster. Raises Refused(forbidden | not_found | invalid | exists | conflict | quota | state)."""
    scope.require_admin(account)
    if not _NAME.fullmatch(ask.name) or ask.name == cards.DEFAULT:
        raise Refused("invalid", "The name is not possible", "letters, digits, dot, dash and underscore, at most 63, and not default", field="name")
    if ask.mode not in list(NetworkMode):
        raise Refused("invalid", "mode is not possible", f"give {' or '.join(NetworkMode)}, not {ask.mode[:20]!r}", field="mode")
    subnet = _subnet(ask.subnet)
    ranges, gateway = _ranges(subnet, ask.ranges), _gateway(subnet, ask)
    with memory.atomic():
        cluster = _able(named(account, ask.cluster))
        plan = alone_of_all(cluster) if ask.mode == NetworkMode.CAMPUS else alone(cluster)
        live = list(Network.objects.filter(cluster=cluster, retired_at=0))
        if any(each.live_name == ask.name for each in live):
            raise Refused("exists", f"The cluster has a network {ask.name!r} already", field="name")
        own_one = {cards.DEFAULT: cluster.subnet} if cluster.subnet else {}
        _refuse_overlap(subnet, {each.name: each.subnet for each in live} | own_one)
        _refuse_public(cluster, subnet)
        if ask.mode == NetworkMode.CAMPUS:
            _refuse_lent_elsewhere(cluster, spans(subnet, ranges))
        used = {each.live_number for each in live}
        number = next((n for n in range(1, SEGMENTS + 1) if n not in used), 0)
        if not number:
            raise Refused("quota", "The cluster has too many networks", f"at most {SEGMENTS}")
        row = Network.objects.create(
            id=ids.new("net"), cluster=cluster, name=ask.name, live_name=ask.name, mode=ask.mode, number=number, live_number=number,
            subnet=str(subnet), gateway=gateway, ranges=ranges, way_out=ask.way_out, isolated=ask.isolated, created_at=clock.now(),
        )
        events.record("network", row.pk, "network made", owner=account, name=row.name, subnet=row.subnet)
        tell(cluster, plan)
    return row


def retire(account: Account, ident: str) -> Network:
    """Give a network up. Raises Refused(forbidden | not_found), Refused(state) while instances have cards in it."""
    scope.require_admin(account)
    with memory.atomic():
        row = cards.resolve(account, ident)
        plan = alone(row.cluster)
        Network.objects.select_for_update().get(pk=row.pk)  # nobody gets a card in it meanwhile
        names = cards.users(row).values_list("name", flat=True)
        if names:
            raise Refused("state", "The network cannot be given up", f"{len(names)} instances have cards in it: {', '.join(names[:5])}",
                          hint="Delete them first.")
        Network.objects.filter(pk=row.pk).update(live_name=None, live_number=None, retired_at=clock.now())
        events.record("network", row.pk, "network given up", owner=account, name=row.name)
        tell(row.cluster, plan)
    return row


def repair(pictures: Mapping[str, Mapping[str, Any]]) -> int:
    """Say the networks again to clusters that did not hear the last word. ``pictures``: their facts by host; how many."""
    waiting = set(Outbox.objects.values_list("to", flat=True))
    said = 0
    for plan in NetworkPlan.objects.all():
        heard = pictures.get(plan.pk, {}).get("networks")
        cluster = Host.objects.filter(pk=plan.pk).exclude(state=HostState.RETIRED).first()
        if cluster is None or heard is None or heard == plan.number or plan.pk in waiting:
            continue
        with memory.atomic():
            # one that heard a later word than we remember: our memory is an older copy
            NetworkPlan.objects.filter(pk=plan.pk, number__lt=heard).update(number=heard)
            tell(cluster, alone(cluster))
        said += 1
    return said


def named(account: Account, ident: str) -> Host:
    """The visible cluster of that id or name; it may be left out where there is one. Raises Refused(not_found | invalid), with the field."""
    rows = scope.visible_to(account, Host).filter(role=Role.CC).exclude(state__in=[HostState.RETIRED, HostState.NEW])
    by = {"pk": ident} if ids.is_id(ident, "cc") else {"name": ident}
    found = list(rows.filter(**by)[:2]) if ident else list(rows[:2])
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused("invalid", "The cluster must be named", "there are several", field="cluster")
    raise Refused("not_found", f"There is no cluster {ident[:63]!r}" if ident else "There is no cluster", field="cluster")


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


def _refuse_overlap(subnet: ipaddress.IPv4Network, others: Mapping[str, str]) -> None:
    for name, text in others.items():
        if ipaddress.IPv4Network(text).overlaps(subnet):
            raise Refused("conflict", f"{subnet} overlaps with another network", f"{name} of this cluster is {text}", field="subnet")


def _refuse_public(cluster: Host, subnet: ipaddress.IPv4Network) -> None:
    among = (int(subnet.network_address), int(subnet.broadcast_address))
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
    for host in Host.objects.exclude(state=HostState.RETIRED).exclude(address=""):
        if (number := number_of(host)) is not None and any(begin <= number <= end for begin, end in lent):
            raise Refused("conflict", "A host has one of these addresses", f"the host {host.name} is at {host.address}", field="ranges")


def campuses_beside(cluster: Host) -> QuerySet[Network]:
    """The campus networks of all other clusters."""
    live = Network.objects.filter(mode=NetworkMode.CAMPUS, retired_at=0).exclude(cluster__state=HostState.RETIRED)
    return live.exclude(cluster=cluster).select_related("cluster")


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


def alone_of_all(cluster: Host) -> NetworkPlan:
    """As :func:`alone`, of all clusters at once: what is compared between them stays as it is."""
    NetworkPlan.objects.get_or_create(pk=cluster.pk)
    return {plan.pk: plan for plan in NetworkPlan.objects.select_for_update().order_by("pk")}[cluster.pk]


def alone(cluster: Host) -> NetworkPlan:
    """Until this transaction ends nobody else makes networks of this cluster, gives one up, or has its public addresses lead elsewhere."""
    plan, _ = NetworkPlan.objects.select_for_update().get_or_create(pk=cluster.pk)
    return plan


def tell(cluster: Host, plan: NetworkPlan) -> None:
    """Say all networks of a cluster to it, and which public addresses lead where, in the open transaction of who is :func:`alone`."""
    plan.number += 1
    plan.save()
    rows = Network.objects.filter(cluster=cluster, retired_at=0)
    said = tuple(
        NetworkSpec(
            id=row.pk, name=row.name, mode=NetworkMode(row.mode), number=row.number, subnet=row.subnet, ranges=tuple(map(tuple, row.ranges)),
            gateway=row.gateway, way_out=row.way_out, isolated=row.isolated,
        )
        for row in rows
    )
    led = ElasticAddress.objects.filter(cluster=cluster, instance__isnull=False).values_list("address", "instance_id")
    elastics = tuple(ElasticSpec(address=address, instance=instance) for address, instance in led)
    outbox.send(NetworksSet(number=plan.number, networks=said, elastics=elastics), cluster.pk, sender=own().id, task=ids.new("tsk"),
                speaks=cluster.speaks, whole=True)
