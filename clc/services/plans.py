"""What a cluster is told about its networks, as a whole and numbered: the only writer of NetworkPlan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clc.services.cards import DEFAULT
from clc.services.own import own
from luhyaapi import ids
from luhyaapi.contracts.commands import NetworksSet
from luhyaapi.contracts.specs import ElasticSpec, NetworkSpec, PortRange, ReservationSpec
from luhyaapi.contracts.vocabulary import HostState, NetworkMode
from luhyadb import memory, outbox
from luhyadb.models import ElasticAddress, Host, Network, NetworkPlan, Outbox, Reservation


def alone(cluster: Host) -> NetworkPlan:
    """Until this transaction ends nobody else makes networks of this cluster, gives one up, or has its public addresses lead elsewhere."""
    plan, _ = NetworkPlan.objects.select_for_update().get_or_create(pk=cluster.pk)
    return plan


def alone_of_all(cluster: Host) -> NetworkPlan:
    """As :func:`alone`, of all clusters at once: what is compared between them stays as it is."""
    NetworkPlan.objects.get_or_create(pk=cluster.pk)
    return {plan.pk: plan for plan in NetworkPlan.objects.select_for_update().order_by("pk")}[cluster.pk]


def tell(cluster: Host, plan: NetworkPlan) -> None:
    """Say all networks of a cluster to it, and which public addresses lead where, in the open transaction of who is :func:`alone`."""
    plan.number += 1
    plan.save()
    rows = Network.objects.filter(cluster=cluster, retired_at=0)
    said = tuple(
        NetworkSpec(
            id=row.pk, name=row.name, mode=NetworkMode(row.mode), number=row.number, subnet=row.subnet, ranges=tuple(map(tuple, row.ranges)),
            gateway=row.gateway, way_out=row.way_out, isolated=row.isolated, subnet6=row.subnet6,
        )
        for row in rows
    )
    led = ElasticAddress.objects.filter(cluster=cluster, instance__isnull=False).values_list("address", "instance_id")
    elastics = tuple(ElasticSpec(address=address, instance=instance) for address, instance in led)
    order = NetworksSet(number=plan.number, networks=said, elastics=elastics, reservations=_reservations(cluster), ports=_ports(plan))
    outbox.send(order, cluster.pk, sender=own().id, task=ids.new("tsk"), speaks=cluster.speaks, whole=True)


def set_ports(cluster: Host, first: int, last: int) -> tuple[int, int]:
    """Have the cluster lend these ports from now on; 0: those of its settings. Those before. In a transaction of the caller's."""
    plan = alone(cluster)
    before = plan.first_port, plan.last_port
    plan.first_port, plan.last_port = first, last
    tell(cluster, plan)
    return before


def _ports(plan: NetworkPlan) -> PortRange | None:
    return PortRange(first=plan.first_port, last=plan.last_port) if plan.first_port else None


def _reservations(cluster: Host) -> tuple[ReservationSpec, ...]:
    rows = Reservation.objects.filter(cluster=cluster).values_list("network", "address", "mac", "owner__username", "name")
    return tuple(
        ReservationSpec(network=network or DEFAULT, address=address, mac=mac or "", owner=owner or "", name=name) for network, address, mac, owner, name in rows
    )


def repair(pictures: Mapping[str, Mapping[str, Any]]) -> int:
    """Say the networks again to clusters that did not hear the last word. ``pictures``: their facts by host; how many."""
    waiting = set(Outbox.objects.filter(subject=NetworksSet.kind.partition("/")[0]).values_list("to", flat=True))
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
