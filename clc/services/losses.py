"""An administrator's word that a machine and its disks are gone for good: what was there ends, and nothing waits for it any more."""

from __future__ import annotations

from clc.services import hosts, instances, outcomes, queue
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.specs import Fault
from luhyaapi.contracts.vocabulary import InstanceState, Role
from luhyaapi.machines import TASK
from luhyadb import memory
from luhyadb.models import Account, Host, Instance, Task, TaskOrder, Turn


@memory.whole
def lost(account: Account, host_id: str) -> Host:
    """Give up a silent host and what was on it: its instances fail with that reason, and begin anew elsewhere or are deleted.

    Of a node its cluster is told, which gives back what it lent and says so; of a lost cluster nobody says anything, so that is done here.
    Raises Refused(forbidden | not_found | state): one that answers, the CLC, one with hosts below it.
    """
    host = hosts.lose(account, host_id)
    if host.role == Role.CC:
        _speak_for(host)
        for row in Instance.objects.filter(cluster=host.pk).exclude(state=InstanceState.DELETED).order_by("pk"):
            _leave_queue(row, host)
            instances.lose_place(row.pk, host)
    return host


def _speak_for(cluster: Host) -> None:
    """The orders it had end: nobody else will say so."""
    fault = Fault(**instances.host_lost(cluster).wire())
    given = Task.objects.filter(receiver=cluster.pk).exclude(state__in=TASK.final).exclude(command="").values_list("command", "pk")
    parts = TaskOrder.objects.filter(receiver=cluster.pk, ended_at=0).values_list("command", "task")
    for command, task in [*given, *parts]:
        outcomes.heard(Outcome(command=command, task=task, error=fault))


def _leave_queue(row: Instance, cluster: Host) -> None:
    for turn in Turn.objects.select_related("task").filter(task__subject=row.pk):
        if queue.leave(turn.task_id):
            instances.gave_up(turn.task, instances.host_lost(cluster))
