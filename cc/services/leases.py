"""Addresses, MACs and display ports: taken and given back in one transaction: the only writer of the lease tables."""

from __future__ import annotations

import functools
import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from django.db.models import QuerySet

from cc.services import networks, pool, pools
from luhyaapi import clock, subnets
from luhyaapi.conf import Network, bridge_of
from luhyaapi.contracts.specs import NetworkSpec, Nic, SegmentSpan
from luhyaapi.contracts.vocabulary import SPANNING, NetworkMode
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.errors import Unavailable
from luhyadb.models import AddressLease, PortLease

_SPANNING_MTU = 1450
"""What fits into the frames of an ordinary LAN once it is wrapped to go to another host; guests cannot be told another one later."""


@dataclass
class Known:
    """What is lent and what is free, as it was read."""

    lent: set[str]
    """Addresses that are lent, or rest."""
    ports: list[int]
    """Free, the lowest last."""
    holders: set[str]
    rests_since: float
    """When the first of those that rest was given back; infinite while none rests."""
    _free: dict[str, list[str]] = field(default_factory=dict)
    """Free addresses of the networks that were asked for, the lowest last."""

    @classmethod
    def read(cls, network: Network) -> Known:
        """From the tables, after what has rested is forgotten. In a transaction of the caller's."""
        before = clock.now() - network.cooldown_s
        AddressLease.objects.filter(instance="", released_at__lt=before).delete()
        PortLease.objects.filter(instance="", released_at__lt=before).delete()
        cards = {ip: (owner, at) for ip, owner, at in AddressLease.objects.values_list("ip", "instance", "released_at")}
        ports = {port: (owner, at) for port, owner, at in PortLease.objects.values_list("port", "instance", "released_at")}
        rests = [at for owner, at in (*cards.values(), *ports.values()) if not owner]
        return cls(
            set(cards), [port for port in pools.ports(network.display_first, network.display_count) if port not in ports][::-1],
            {owner for owner, _ in (*cards.values(), *ports.values()) if owner}, min(rests, default=math.inf),
        )

    def free(self, network: NetworkSpec) -> list[str]:
        """Free addresses of a network, the lowest last."""
        if network.id not in self._free:
            taken = self.lent | {networks.gateway_of(network)}
            self._free[network.id] = [ip for ip in _candidates(network.subnet, network.ranges) if ip not in taken][::-1]
        return self._free[network.id]

    def is_over(self, network: Network) -> bool:
        """Whether something has rested long enough since."""
        return self.rests_since < clock.now() - network.cooldown_s

    def took(self, instance: str, nics: Sequence[Nic]) -> None:
        """These, and the lowest port, were lent to an instance that had none."""
        self.lent.update(nic.ip for nic in nics)
        for nic in nics:
            if nic.network in self._free:
                self._free[nic.network].pop()
        self.ports.pop()
        self.holders.add(instance)

    def gave_back(self, instance: str) -> None:
        """They rest now."""
        self.holders.discard(instance)
        self.rests_since = min(self.rests_since, clock.now())


@functools.lru_cache(16)
def _candidates(subnet: str, ranges: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    every = subnets.addresses(subnets.subnet_of(subnet))
    if not ranges:
        return tuple(every)
    spans = [tuple(int(ipaddress.IPv4Address(end)) for end in each) for each in ranges]
    return tuple(ip for ip in every if any(first <= int(ipaddress.IPv4Address(ip)) <= last for first, last in spans))


def take(
    cluster: str, network: Network, instance: str, name: str, known: Known | None = None, cards: Sequence[NetworkSpec] = (),
) -> tuple[tuple[Nic, ...], int]:
    """A card in each of these networks (none: in that of the settings) and a display port; asked again, the same.

    All or nothing. Raises Unavailable(no_capacity).

    The forwarded ports are told from the display port and lent with it. In a transaction of the caller's; unique columns are
    the second guard: two who pick the same row cannot both commit. ``known`` is what was read in this transaction or is still true.
    """
    if known is None:
        pool.alone()
        known = Known.read(network)
    has_some = instance in known.holders
    held_cards = {row.network: row for row in AddressLease.objects.filter(instance=instance)} if has_some else {}
    wanted = cards or (networks.own(network),)
    rows = [held_cards.get(each.id) or _new_card(cluster, network, each, instance, name, known) for each in wanted]
    held = PortLease.objects.filter(instance=instance).first() if has_some else None
    if held is None:
        held = PortLease(port=known.ports[-1] if known.ports else _none_free(network, "display port", PortLease.objects.all()), instance=instance)
        held.save(force_insert=True)
    port = int(held.port)
    return tuple(_nic(network, each, row, port) for each, row in zip(wanted, rows, strict=True)), port


def _nic(network: Network, spec: NetworkSpec, row: AddressLease, port: int) -> Nic:
    subnet = subnets.subnet_of(spec.subnet)
    return Nic(
        mac=row.mac, ip=row.ip, network=row.network, segment=spec.number, mode=spec.mode, subnet=str(subnet), gateway=networks.gateway_of(spec),
        isolated=spec.isolated, way_out=spec.way_out, forwards=pools.forwards(network, port) if not spec.number else (),
    )


def _new_card(cluster: str, network: Network, spec: NetworkSpec, instance: str, name: str, known: Known) -> AddressLease:
    free = known.free(spec)
    ip = free[-1] if free else _none_free(network, "address", AddressLease.objects.filter(network=spec.id))
    card = AddressLease(ip=ip, mac=pools.mac_of(cluster, ip), network=spec.id, instance=instance, name=name)
    card.save(force_insert=True)
    return card


def _none_free(network: Network, what: str, rows: QuerySet[Any]) -> NoReturn:
    lent, resting = rows.exclude(instance="").count(), list(rows.filter(instance="").values_list("released_at", flat=True))
    raise Unavailable(
        "no_capacity", f"No {what} is free", f"of {lent + len(resting)}, {lent} are lent and {len(resting)} rest after their last use",
        hint=pools.when_free(resting, network.cooldown_s, "Delete instances that nobody needs, or choose another network."),
    )


def give_back(instance: str) -> None:
    """Nothing is lent to this instance any more; what it had rests before it is lent again. In a transaction of the caller's."""
    pool.alone()
    pool.turn()
    now = clock.now()
    AddressLease.objects.filter(instance=instance).update(instance="", name="", released_at=now)
    PortLease.objects.filter(instance=instance).update(instance="", released_at=now)


def orphans(known: set[str]) -> list[str]:
    """Instances that hold a lease but have no placement: a lost release. ``known`` was read while :func:`pool.alone`."""
    held = set(AddressLease.objects.exclude(instance="").values_list("instance", flat=True))
    held |= set(PortLease.objects.exclude(instance="").values_list("instance", flat=True))
    return sorted(held - known)


def lent_to(instance: str) -> dict[str, list[EdgeLease]]:
    """What DHCP shall know of an instance, by network."""
    return _by_network(AddressLease.objects.filter(instance=instance))


def _by_network(rows: QuerySet[Any]) -> dict[str, list[EdgeLease]]:
    found: dict[str, list[EdgeLease]] = {}
    for row in rows.order_by("ip"):
        found.setdefault(row.network, []).append(EdgeLease(instance=row.instance, mac=row.mac, ip=row.ip, hostname=row.name))
    return found


def served(
    network: Network, everyone: Sequence[NetworkSpec], spans: Mapping[int, SegmentSpan] = MappingProxyType({}),
) -> tuple[EdgeNetwork, ...]:
    """What DHCP of these networks shall know. ``spans``: by its number, how a network spans hosts."""
    by_network = _by_network(AddressLease.objects.exclude(instance=""))
    return tuple(_served(network, each, by_network.get(each.id, ()), spans.get(each.number)) for each in everyone)


def _served(network: Network, spec: NetworkSpec, rows: Sequence[EdgeLease], span: SegmentSpan | None) -> EdgeNetwork:
    subnet = subnets.subnet_of(spec.subnet)
    return EdgeNetwork(
        bridge=bridge_of(network.bridge, spec.number), subnet=str(subnet), gateway=networks.gateway_of(spec), leases=tuple(rows),
        mtu=_SPANNING_MTU if spec.number and spec.mode in SPANNING else 0, span=span, way_out=spec.way_out, shared=spec.mode is NetworkMode.CAMPUS,
    )
