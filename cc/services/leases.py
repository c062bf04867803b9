"""Addresses, MACs and display ports: taken and given back in one transaction: the only writer of the lease tables."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NoReturn

from django.db.models import F

from cc.drivers.base import EdgeLease, EdgePlan
from cc.services import pools
from luhyaapi import clock
from luhyaapi.conf import Network
from luhyaapi.contracts.specs import Nic
from luhyaapi.errors import Unavailable
from luhyadb.models import AddressLease, Pool, PortLease

NETWORK = "default"


@dataclass
class Known:
    """What is lent and what is free, as it was read."""

    addresses: list[str]
    """Free, the lowest last."""
    ports: list[int]
    holders: set[str]
    rests_since: float
    """When the first of those that rest was given back; infinite while none rests."""
    counts: tuple[int, int]
    """Leases that are lent, and that rest: addresses and ports alike."""

    @classmethod
    def read(cls, network: Network) -> Known:
        """From the tables, after what has rested is forgotten. In a transaction of the caller's."""
        before = clock.now() - network.cooldown_s
        AddressLease.objects.filter(instance="", released_at__lt=before).delete()
        PortLease.objects.filter(instance="", released_at__lt=before).delete()
        cards = {ip: (owner, at) for ip, owner, at in AddressLease.objects.values_list("ip", "instance", "released_at")}
        ports = {port: (owner, at) for port, owner, at in PortLease.objects.values_list("port", "instance", "released_at")}
        rests = [at for owner, at in (*cards.values(), *ports.values()) if not owner]
        free = [ip for ip in _candidates(network.subnet) if ip not in cards]
        return cls(
            free[::-1], [port for port in pools.ports(network.display_first, network.display_count) if port not in ports][::-1],
            {owner for owner, _ in (*cards.values(), *ports.values()) if owner}, min(rests, default=math.inf),
            (max(len(cards), len(ports)) - len(rests), len(rests)),
        )

    def is_over(self, network: Network) -> bool:
        """Whether something has rested long enough since."""
        return self.rests_since < clock.now() - network.cooldown_s

    def took(self, instance: str) -> None:
        """The lowest were lent to an instance that had none."""
        self.addresses.pop()
        self.ports.pop()
        self.holders.add(instance)

    def gave_back(self, instance: str) -> None:
        """They rest now."""
        self.holders.discard(instance)
        self.rests_since = min(self.rests_since, clock.now())


@functools.lru_cache(4)
def _candidates(subnet: str) -> tuple[str, ...]:
    return tuple(pools.addresses(pools.subnet_of(subnet)))


def take(cluster: str, network: Network, instance: str, name: str, known: Known | None = None) -> tuple[Nic, int]:
    """A card and a display port for an instance; asked again, the same. Raises Unavailable(no_capacity).

    The forwarded ports are told from the display port and lent with it. In a transaction of the caller's; unique columns are
    the second guard: two who pick the same row cannot both commit. ``known`` is what was read in this transaction or is still true.
    """
    if known is None:
        alone()
        known = Known.read(network)
    has_some = instance in known.holders
    card = AddressLease.objects.filter(instance=instance).first() if has_some else None
    if card is None:
        ip = known.addresses[-1] if known.addresses else _none_free("address", AddressLease)
        card = AddressLease(ip=ip, mac=pools.mac_of(cluster, ip), network=NETWORK, instance=instance, name=name)
        card.save(force_insert=True)
    held = PortLease.objects.filter(instance=instance).first() if has_some else None
    if held is None:
        held = PortLease(port=known.ports[-1] if known.ports else _none_free("display port", PortLease), instance=instance)
        held.save(force_insert=True)
    port = int(held.port)
    return Nic(mac=card.mac, ip=card.ip, network=card.network, forwards=pools.forwards(network, port)), port


def _none_free(what: str, table: type[AddressLease | PortLease]) -> NoReturn:
    lent, resting = table.objects.exclude(instance="").count(), table.objects.filter(instance="").count()
    raise Unavailable(
        "no_capacity", f"No {what} is free", f"of {lent + resting}, {lent} are lent and {resting} rest after their last use",
    )


def alone() -> int:
    """Until this transaction ends nobody else lends, gives back or sweeps; the number of the last change.

    SQLite has one writer at a time anyway; elsewhere two could read the same free row, or one take a lease for lost that
    the other is just writing.
    """
    found = Pool.objects.select_for_update().filter(pk=NETWORK).values_list("number", flat=True).first()
    if found is None:
        Pool.objects.create(pk=NETWORK)  # the tables were made without their migrations
    return found or 0


def turn() -> None:
    """Places, leases or children change with this transaction: copies of what was before are good no more."""
    if not Pool.objects.filter(pk=NETWORK).update(number=F("number") + 1):
        Pool.objects.create(pk=NETWORK, number=1)


def give_back(instance: str) -> None:
    """Nothing is lent to this instance any more; what it had rests before it is lent again. In a transaction of the caller's."""
    alone()
    turn()
    now = clock.now()
    AddressLease.objects.filter(instance=instance).update(instance="", name="", released_at=now)
    PortLease.objects.filter(instance=instance).update(instance="", released_at=now)


def orphans(known: set[str]) -> list[str]:
    """Instances that hold a lease but have no placement: a lost release. ``known`` was read while :func:`alone`."""
    held = set(AddressLease.objects.exclude(instance="").values_list("instance", flat=True))
    held |= set(PortLease.objects.exclude(instance="").values_list("instance", flat=True))
    return sorted(held - known)


def plan(network: Network) -> EdgePlan:
    """What DHCP shall know: a function of the leases and of nothing else."""
    subnet = pools.subnet_of(network.subnet)
    rows = AddressLease.objects.exclude(instance="").order_by("ip")
    return EdgePlan(
        bridge=network.bridge, subnet=str(subnet), gateway=pools.gateway_of(subnet),
        leases=tuple(EdgeLease(instance=r.instance, mac=r.mac, ip=r.ip, hostname=r.name) for r in rows),
    )
