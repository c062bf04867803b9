"""Addresses, MACs and display ports: taken and given back in one transaction: the only writer of the lease tables."""

from __future__ import annotations

from cc.drivers.base import EdgeLease, EdgePlan
from cc.services import pools
from luhyaapi import clock
from luhyaapi.conf import Network
from luhyaapi.contracts.specs import Nic
from luhyadb.models import AddressLease, Pool, PortLease

NETWORK = "default"


def take(cluster: str, network: Network, instance: str, name: str) -> tuple[Nic, int]:
    """A card and a display port for an instance; asked again, the same. Raises Unavailable(no_capacity).

    The forwarded ports are told from the display port and lent with it. In a transaction of the caller's; unique columns are
    the second guard: two who pick the same row cannot both commit.
    """
    alone()
    nic, port = _address(cluster, network, instance, name), _port(network, instance)
    return nic.model_copy(update={"forwards": pools.forwards(network, port)}), port


def alone() -> None:
    """Until this transaction ends nobody else lends, gives back or sweeps.

    SQLite has one writer at a time anyway; elsewhere two could read the same free row, or one take a lease for lost that
    the other is just writing.
    """
    if Pool.objects.select_for_update().filter(pk=NETWORK).first() is None:
        Pool.objects.create(pk=NETWORK)  # the tables were made without their migrations


def _address(cluster: str, network: Network, instance: str, name: str) -> Nic:
    held = AddressLease.objects.filter(instance=instance).first()
    if held is None:
        _forget_cooled(network.cooldown_s)
        rows = dict(AddressLease.objects.values_list("ip", "instance"))
        taken, cooling = {ip for ip, owner in rows.items() if owner}, {ip for ip, owner in rows.items() if not owner}
        subnet = pools.subnet_of(network.subnet)
        ip = pools.pick(pools.addresses(subnet), taken, cooling, "address")
        held = AddressLease.objects.create(
            ip=ip, mac=pools.mac_of(cluster, ip), network=NETWORK, instance=instance, name=name,
        )
    return Nic(mac=held.mac, ip=held.ip, network=held.network)


def _port(network: Network, instance: str) -> int:
    held = PortLease.objects.filter(instance=instance).first()
    if held is None:
        rows = dict(PortLease.objects.values_list("port", "instance"))
        taken, cooling = {p for p, owner in rows.items() if owner}, {p for p, owner in rows.items() if not owner}
        port = pools.pick(pools.ports(network.display_first, network.display_count), taken, cooling, "display port")
        held = PortLease.objects.create(port=port, instance=instance)
    return int(held.port)


def give_back(instance: str) -> None:
    """Nothing is lent to this instance any more; what it had rests before it is lent again. In a transaction of the caller's."""
    alone()
    now = clock.now()
    AddressLease.objects.filter(instance=instance).update(instance="", name="", released_at=now)
    PortLease.objects.filter(instance=instance).update(instance="", released_at=now)


def _forget_cooled(cooldown_s: float) -> None:
    before = clock.now() - cooldown_s
    AddressLease.objects.filter(instance="", released_at__lt=before).delete()
    PortLease.objects.filter(instance="", released_at__lt=before).delete()


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
