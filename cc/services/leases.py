"""Addresses, MACs and display ports: taken and given back in one transaction: the only writer of the lease tables and TakenAddress."""

from __future__ import annotations

import functools
import ipaddress
import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from django.db.models import Q, QuerySet

from cc.services import networks, pool, pools
from luhyaapi import clock, subnets
from luhyaapi.conf import Network, bridge_of
from luhyaapi.contracts.specs import MachineSpec, NetworkSpec, Nic, SegmentSpan
from luhyaapi.contracts.vocabulary import SPANNING, NetworkMode
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.errors import Unavailable
from luhyadb.models import AddressLease, PortLease, ReservedAddress, TakenAddress

TAKEN_S = 600.0
"""So long an address that somebody else answered for is passed over."""
_SPANNING_MTU = 1450
"""What fits into the frames of an ordinary LAN once it is wrapped to go to another host; guests cannot be told another one later."""


@dataclass
class Known:
    """What is lent and what is free, as it was read."""

    lent: set[str]
    """Addresses that are lent, rest, or are somebody else's."""
    ports: list[int]
    """Free, the lowest last."""
    holders: set[str]
    rests_since: float
    """When the first of those that rest was given back; infinite while none rests."""
    reserved: list[ReservedAddress] = field(default_factory=list)
    taken_since: float = math.inf
    """When the first of those that are somebody else's was found so; infinite while there is none."""
    _free: dict[str, list[str]] = field(default_factory=dict)
    """Free addresses of the networks that were asked for, the lowest last."""

    @classmethod
    def read(cls, network: Network) -> Known:
        """From the tables, after what has rested is forgotten. In a transaction of the caller's."""
        before = clock.now() - network.cooldown_s
        TakenAddress.objects.filter(seen_at__lt=clock.now() - TAKEN_S).delete()
        AddressLease.objects.filter(instance="", released_at__lt=before).delete()
        PortLease.objects.filter(instance="", released_at__lt=before).delete()
        cards = {ip: (owner, at) for ip, owner, at in AddressLease.objects.values_list("ip", "instance", "released_at")}
        ports = {port: (owner, at) for port, owner, at in PortLease.objects.values_list("port", "instance", "released_at")}
        rests = [at for owner, at in (*cards.values(), *ports.values()) if not owner]
        taken = dict(TakenAddress.objects.values_list("ip", "seen_at"))
        return cls(
            cards.keys() | taken.keys(), [port for port in pools.ports(network.display_first, network.display_count) if port not in ports][::-1],
            {owner for owner, _ in (*cards.values(), *ports.values()) if owner}, min(rests, default=math.inf),
            list(ReservedAddress.objects.order_by("ip")), min(taken.values(), default=math.inf),
        )

    def free(self, network: NetworkSpec) -> list[str]:
        """Free addresses of a network, the lowest last."""
        if network.id not in self._free:
            taken = self.lent | {networks.gateway_of(network)} | {each.ip for each in self.reserved}
            self._free[network.id] = [ip for ip in candidates(network.subnet, network.ranges) if ip not in taken][::-1]
        return self._free[network.id]

    def meant(self, network: NetworkSpec, owner: str, name: str) -> list[ReservedAddress]:
        """What of that network is reserved for such an instance and not lent, that for its name first."""
        if not owner:
            return []
        of = [each for each in self.reserved if each.network == network.id and each.owner == owner and each.name in ("", name)]
        of = [each for each in of if each.ip not in self.lent and networks.may_have(network, each.ip)]
        return sorted(of, key=lambda each: (not each.name, socket.inet_aton(each.ip)))

    def is_over(self, network: Network) -> bool:
        """Whether something has rested, or was somebody else's, long enough since."""
        return self.rests_since < clock.now() - network.cooldown_s or self.taken_since < clock.now() - TAKEN_S

    def took(self, instance: str, nics: Sequence[Nic]) -> None:
        """These, and the lowest port, were lent to an instance that had none."""
        self.lent.update(nic.ip for nic in nics)
        for nic in nics:
            if self._free.get(nic.network, [])[-1:] == [nic.ip]:
                self._free[nic.network].pop()
        self.ports.pop()
        self.holders.add(instance)

    def gave_back(self, instance: str) -> None:
        """They rest now."""
        self.holders.discard(instance)
        self.rests_since = min(self.rests_since, clock.now())


@functools.lru_cache(16)
def candidates(subnet: str, ranges: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """What of a network may be lent, lowest first; its gateway among it, if that is not the first address."""
    every = subnets.addresses(subnets.subnet_of(subnet))
    if not ranges:
        return tuple(every)
    spans = [tuple(int(ipaddress.IPv4Address(end)) for end in each) for each in ranges]
    return tuple(ip for ip in every if any(first <= int(ipaddress.IPv4Address(ip)) <= last for first, last in spans))


def take(
    cluster: str, network: Network, instance: str, name: str, known: Known | None = None, cards: Sequence[NetworkSpec] = (), owner: str = "",
) -> tuple[tuple[Nic, ...], int]:
    """A card in each of these networks (none: in that of the settings) and a display port; asked again, the same.

    What is reserved for that ``owner``, or its instance of that ``name``, comes before all others.

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
    rows = [held_cards.get(each.id) or _new_card(cluster, network, each, (instance, name, owner), known) for each in wanted]
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
        isolated=spec.isolated, way_out=spec.way_out, subnet6=spec.subnet6, forwards=pools.forwards(network, port) if not spec.number else (),
    )


def _new_card(cluster: str, settings: Network, network: NetworkSpec, whose: tuple[str, str, str], known: Known) -> AddressLease:
    instance, name, owner = whose
    ip, mac = _reserved(network, owner, name, known)
    if not ip:
        free = known.free(network)
        ip = free[-1] if free else _none_free(settings, "address", AddressLease.objects.filter(network=network.id), _withheld(network.id))
    card = AddressLease(ip=ip, mac=mac or subnets.mac_of(cluster, ip), network=network.id, instance=instance, name=name, lent_at=clock.now())
    card.save(force_insert=True)
    return card


def _reserved(network: NetworkSpec, owner: str, name: str, known: Known) -> tuple[str, str]:
    """The address that is meant for it, with its MAC if one was said; of a MAC that another card still has, none."""
    for each in known.meant(network, owner, name):
        if not (each.mac and AddressLease.objects.filter(mac=each.mac).exists()):
            return each.ip, each.mac
    return "", ""


def _withheld(network: str) -> str:
    reserved, taken = ReservedAddress.objects.filter(network=network).count(), TakenAddress.objects.filter(network=network).count()
    return "".join([f"; {reserved} are reserved" if reserved else "", f"; {taken} are somebody else's" if taken else ""])


def _none_free(network: Network, what: str, rows: QuerySet[Any], withheld: str = "") -> NoReturn:
    lent, resting = rows.exclude(instance="").count(), list(rows.filter(instance="").values_list("released_at", flat=True))
    raise Unavailable(
        "no_capacity", f"No {what} is free", f"of {lent + len(resting)}, {lent} are lent and {len(resting)} rest after their last use{withheld}",
        hint=pools.when_free(resting, network.cooldown_s, "Delete instances that nobody needs, or choose another network."),
    )


def take_again(cluster: str, network: Network, machine: MachineSpec) -> tuple[tuple[Nic, ...], int]:
    """What a machine has already, lent to it again; another in place of what somebody else was lent meanwhile. In a transaction of the caller's.

    Raises Unavailable(no_capacity), Refused(not_found) for a network that is not there.
    """
    pool.alone()
    cards = networks.named(network, [nic.network for nic in machine.nics])
    for nic in machine.nics:
        same = AddressLease.objects.filter(Q(ip=nic.ip) | Q(mac=nic.mac))
        spec = next((each for each in cards if each.id == nic.network), None)
        if spec and _may_keep(spec, nic, machine) and not same.exclude(instance="").exists():
            same.delete()
            AddressLease.objects.create(
                ip=nic.ip, mac=nic.mac, network=nic.network, instance=machine.instance, name=machine.name, lent_at=clock.now(),
            )
    if machine.display_port and not PortLease.objects.filter(port=machine.display_port).exclude(instance="").exists():
        PortLease.objects.update_or_create(port=machine.display_port, defaults={"instance": machine.instance})
    return take(cluster, network, machine.instance, machine.name, None, cards)


def _may_keep(spec: NetworkSpec, nic: Nic, machine: MachineSpec) -> bool:
    """Whether an address is one that is lent in that network, and is not meant for another."""
    meant = ReservedAddress.objects.filter(ip=nic.ip).first()
    return networks.may_have(spec, nic.ip) and (meant is None or meant.mac == nic.mac or (bool(meant.owner) and meant.name in ("", machine.name)))


def exchange(cluster: str, network: Network, instance: str, name: str, others: Mapping[str, str], cards: Sequence[NetworkSpec]) -> tuple[Nic, ...]:
    """Other addresses in place of these, which are somebody else's: ``others`` says by address with which MAC.

    In a transaction of the caller's. Raises Unavailable(no_capacity).
    """
    pool.alone()
    pool.turn()
    for row in AddressLease.objects.filter(instance=instance, ip__in=others):
        TakenAddress.objects.update_or_create(ip=row.ip, defaults={"network": row.network, "mac": others[row.ip], "seen_at": clock.now()})
    AddressLease.objects.filter(instance=instance, ip__in=others).delete()
    nics, _port = take(cluster, network, instance, name, None, cards)
    return nics


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
    for row in _devices():
        by_network.setdefault(row.network, []).append(EdgeLease(mac=row.mac, ip=row.ip, hostname=row.name or f"host-{row.ip.replace('.', '-')}"))
    return tuple(_served(network, each, by_network.get(each.id, ()), spans.get(each.number)) for each in everyone)


def _devices() -> list[ReservedAddress]:
    """What is reserved for the MAC of no instance, while neither that nor the address is lent or rests."""
    rows = ReservedAddress.objects.filter(owner="").exclude(mac="").order_by("ip")
    if not rows:
        return []
    used = {value for pair in AddressLease.objects.values_list("ip", "mac") for value in pair}
    return [row for row in rows if not {row.ip, row.mac} & used]


def unserved(network: Network, spec: NetworkSpec) -> EdgeNetwork:
    """A network without its leases: what it is on this host."""
    return _served(network, spec, (), None)


def _served(network: Network, spec: NetworkSpec, rows: Sequence[EdgeLease], span: SegmentSpan | None) -> EdgeNetwork:
    subnet = subnets.subnet_of(spec.subnet)
    return EdgeNetwork(
        bridge=bridge_of(network.bridge, spec.number), subnet=str(subnet), gateway=networks.gateway_of(spec),
        leases=tuple(each for each in rows if each.instance or networks.may_have(spec, each.ip)),
        mtu=_SPANNING_MTU if spec.number and spec.mode in SPANNING else 0, span=span, way_out=spec.way_out, shared=spec.mode is NetworkMode.CAMPUS,
        subnet6="" if spec.mode is NetworkMode.CAMPUS else spec.subnet6,
    )
