"""Places that clusters say they have against the instances of this cloud: what either side has forgotten is told to it again."""

from __future__ import annotations

import hashlib

from clc.services import events
from clc.services.own import own
from luhyaapi import clock, log
from luhyaapi.contracts.base import Command
from luhyaapi.contracts.commands import InstanceDelete, InstanceRecall
from luhyaapi.contracts.reports import PlacesFacts
from luhyaapi.contracts.vocabulary import InstanceState
from luhyadb import memory, outbox
from luhyadb.models import Host, Instance

_log = log.get(__name__)
_AGAIN_S = 600.0
_CAME_LATE_S = 30.0
"""What was said just before something was done is no news."""


def heard(report: PlacesFacts) -> None:
    """Have the cluster recall what it should have, and delete once more what was deleted.

    What is just being done may look so too; neither order changes anything then.
    """
    cluster = Host.objects.filter(pk=report.host).first()
    if cluster is None:
        return
    placed = set(report.instances)
    rows = Instance.objects.filter(cluster=report.host, pk__gt=report.after)
    if report.until:
        rows = rows.filter(pk__lte=report.until)
    # what changed in the future did so before our clock was set back
    just_now = {"changed_at__gte": clock.now() - _CAME_LATE_S, "changed_at__lte": clock.now()}
    known = rows.exclude(**just_now).exclude(state=InstanceState.DELETED).exclude(node="").values_list("pk", "node", "gen", "fence")
    with memory.atomic():
        for pk, node, gen, fence in known:
            if pk not in placed:
                _log.warning("a cluster has forgotten where an instance is", instance=pk, host=report.host)
                _send(InstanceRecall(instance=pk, node=node), cluster, gen, fence)
        gone = Instance.objects.filter(cluster=report.host, pk__in=placed, state=InstanceState.DELETED).exclude(**just_now)
        for pk, gen in gone.values_list("pk", "gen"):
            events.record("instance", pk, "a deleted instance has a place: deleted again", host=report.host)
            _send(InstanceDelete(instance=pk), cluster, gen + 1, 0)
    if strange := len(placed) - Instance.objects.filter(cluster=report.host, pk__in=placed).count():
        _log.warning("a cluster has places of instances that are not its own", host=report.host, instances=strange)


def _send(command: Command, to: Host, gen: int, fence: int) -> None:
    """Once in ten minutes, however often the cluster says the same meanwhile: the same order again is done once."""
    said = f"{command.kind} {command.subject} {gen} {fence} {int(clock.now() / _AGAIN_S)}"
    task = f"tsk-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    outbox.send(command, to.pk, sender=own().id, task=task, gen=gen, fence=fence, speaks=to.speaks)
