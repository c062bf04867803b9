"""What clusters had, hour by hour: the only writer of CapacitySample."""

from __future__ import annotations

from django.db.models import Count, Max, Q, Sum

from luhyaapi import clock
from luhyaapi.contracts.vocabulary import HostState, InstanceState, Role
from luhyadb import memory
from luhyadb.models import CapacitySample, Host, Instance

EVERY_S = 3600.0
KEPT = 24 * 400
"""Samples of a cluster that are kept: a number and not an age, since a clock may jump."""
_TAKES_NOTHING = (InstanceState.DEFINED, InstanceState.QUEUED, InstanceState.STOPPED, InstanceState.DELETED, InstanceState.FAILED)


def sample() -> int:
    """Note what each cluster has, if that is an hour ago; how many were noted."""
    now = clock.now()
    last = CapacitySample.objects.aggregate(last=Max("at"))["last"] or 0
    # a sample of the future was taken before our clock was set back
    if 0 <= now - last < EVERY_S:
        return 0
    nodes = {row["boss"]: row for row in Host.objects.filter(role=Role.NC, state__in=[HostState.UP, HostState.DRAINING]).order_by().values("boss").annotate(
        n=Count("pk"), cpus_=Sum("cpus"), memory_=Sum("memory_mib"), disk_=Sum("disk_mib"))}
    on = ~Q(state__in=_TAKES_NOTHING)
    guests = {row["cluster"]: row for row in Instance.objects.exclude(state=InstanceState.DELETED).exclude(cluster="").order_by().values("cluster").annotate(
        cpus_=Sum("cpus"), memory_=Sum("memory_mib"), disk_=Sum("data_disk_mib"), cpus_on=Sum("cpus", filter=on), memory_on=Sum("memory_mib", filter=on))}
    with memory.atomic():
        there = Host.objects.filter(role=Role.CC).exclude(state__in=[HostState.NEW, HostState.RETIRED]).values_list("pk", flat=True)
        made = CapacitySample.objects.bulk_create([_of(cluster, now, nodes.get(cluster, {}), guests.get(cluster, {})) for cluster in there])
        for each in made:
            if old := list(CapacitySample.objects.filter(cluster=each.cluster_id).order_by("-pk").values_list("pk", flat=True)[KEPT : KEPT + 100]):
                CapacitySample.objects.filter(pk__in=old).delete()
    return len(made)


def _of(cluster: str, at: float, has: dict[str, int], gives: dict[str, int]) -> CapacitySample:
    return CapacitySample(
        cluster_id=cluster, at=at, nodes=has.get("n", 0), cpus=has.get("cpus_", 0), memory_mib=has.get("memory_", 0), disk_mib=has.get("disk_", 0),
        cpus_used=gives.get("cpus_on") or 0, cpus_promised=gives.get("cpus_", 0), memory_used_mib=gives.get("memory_on") or 0,
        memory_promised_mib=gives.get("memory_", 0), disk_promised_mib=gives.get("disk_", 0),
    )
