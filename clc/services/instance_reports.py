"""What hosts say of instances: where one was placed, how it is on its node, how an order about it ended."""

from __future__ import annotations

from typing import Any

from clc.services import admission, events, hosts, instances, queue, reached, tasks
from luhyaapi import clock
from luhyaapi.contracts.commands import InstanceDelete, InstanceRestore, InstanceStop
from luhyaapi.contracts.reports import InstanceFacts, Outcome, PlacementFacts
from luhyaapi.contracts.specs import Fault
from luhyaapi.contracts.vocabulary import InstanceState, TaskState
from luhyaapi.machines import INSTANCE
from luhyadb.models import ImageVersion, Instance, Task


def placed(report: PlacementFacts) -> None:
    """The cluster chose a node, or took the place back."""
    _placed(report)
    if not report.node:
        queue.freed(Instance.objects.filter(pk=report.instance).values_list("cluster", flat=True).first() or "")
    admission.admit()


def _held(ident: str) -> Instance | None:
    """As it is; nobody orders anything about it until this transaction ends."""
    return Instance.objects.select_for_update().filter(pk=ident).first()


def _placed(report: PlacementFacts) -> None:
    row = _held(report.instance)
    if row is None or row.state == InstanceState.DELETED:
        return
    lost = hosts.lost(row.node) if not report.node else None
    if lost is None and 0 < report.fence < row.fence:
        return  # of an older place; 0 was said by clusters of before
    if lost is not None and row.state not in (InstanceState.QUEUED, InstanceState.STARTING, InstanceState.STOPPING):
        instances.lose_place(row.pk, lost)
        return
    Instance.objects.filter(pk=row.pk).update(
        node=report.node, fence=report.fence, nics=[n.model_dump() for n in report.nics], display_port=report.display.port, why=report.why,
        changed_at=clock.now(),
    )
    on: dict[str, Any] = {"node": report.node} if report.node else {}
    what = "instance placed" if report.node else "instance has no place"
    events.record("instance", row.pk, what, owner_id=row.owner_id, task=report.task, host=row.cluster, **on)
    row.refresh_from_db()
    if report.node:
        queue.placed(report.task)
        reached.placed(row)
    else:
        reached.unplaced(row)
    if report.node and row.state == InstanceState.QUEUED and row.task == report.task:
        instances.move(row, "placed")
    is_settled = row.state in (InstanceState.RUNNING, InstanceState.UNKNOWN) or (row.state == InstanceState.STARTING and not tasks.is_open(row.task))
    if not report.node and is_settled:
        instances.move(row, "seen_stopped", wanted=InstanceState.STOPPED)  # its run was taken back
    row.refresh_from_db()
    if (row.error or {}).get("code") == "cancelled" and not tasks.is_open(row.task):
        instances.withdraw(row)


_SEEN = {
    InstanceState.STARTING: "seen_starting", InstanceState.RUNNING: "seen_running", InstanceState.STOPPED: "seen_stopped",
    InstanceState.FAILED: "seen_failed",
}


def found(report: InstanceFacts) -> None:
    """What its node says of an instance; while an order is under way, only what the order leads to."""
    row = _held(report.instance)
    _stands_on(row, report)
    if row is not None and report.state == InstanceState.DELETED:
        report = _gone(row, report)
    event = _SEEN.get(report.state)
    if row is None or event is None or not INSTANCE.allows(row.state, event):
        return
    is_old, is_halfway = report.gen < row.gen, row.state in _MOVING and report.state != row.wanted
    if (is_old or is_halfway) and tasks.is_open(row.task):
        # the Outcome will tell: a reboot passes through stopped; but what was said after the order was done is not said again
        if not is_old:
            Instance.objects.filter(pk=row.pk).exclude(contradicted=InstanceState.DELETED).update(contradicted=report.state)
        return
    if not row.node and report.gen <= row.gen and (is_old or _came_back(row) or hosts.lost(report.node)):
        return  # it was said before its place was taken back, and came late
    changes = _learned(report)
    if row.wanted == InstanceState.DELETED:
        changes.pop("wanted", None)
    if report.gen > row.gen:
        changes["gen"] = report.gen  # our memory is an older copy: the next order must be newer than what the node knows
    if row.state == event.removeprefix("seen_"):
        Instance.objects.filter(pk=row.pk).update(**changes)
        return
    instances.move(row, event, said_by=report.node, **changes)
    if row.state in (InstanceState.STOPPED, InstanceState.FAILED):
        queue.freed(row.cluster)
        admission.admit()


def _stands_on(row: Instance | None, report: InstanceFacts) -> None:
    """The version its node says it has."""
    if row is None or report.version in (0, row.image.version):
        return
    version = ImageVersion.objects.filter(image=row.image.image_id, version=report.version).first()
    if version is not None:
        Instance.objects.filter(pk=row.pk).update(image=version)
        row.image = version
        events.record("instance", row.pk, "instance has another version", owner_id=row.owner_id, task=row.task, host=report.node, version=version.version)


def _came_back(row: Instance) -> bool:
    """Whether what was last asked of it was a run that came to nothing, so that it has no place."""
    in_vain = (TaskState.CANCELLED, TaskState.FAILED)
    return row.state not in (InstanceState.RUNNING, *_MOVING) and Task.objects.filter(pk=row.task, kind__in=instances.RUNS, state__in=in_vain).exists()


def _gone(row: Instance, report: InstanceFacts) -> InstanceFacts:
    """Its node finished a delete that came to nothing before. It was asked for, also if it was cancelled half-way: it is gone on with.

    One that took a start back leaves the instance, stopped.
    """
    if report.gen >= row.gen and Task.objects.filter(pk=row.task, kind=InstanceDelete.kind).exists():
        Instance.objects.filter(pk=row.pk).update(wanted=InstanceState.DELETED, contradicted=InstanceState.DELETED)
        row.wanted = InstanceState.DELETED
    return report.model_copy(update={"state": InstanceState.STOPPED})


def _learned(report: InstanceFacts) -> dict[str, Any]:
    """The columns that a report says."""
    changes: dict[str, Any] = {"accelerator": report.accelerator, "offline": report.offline, "error": report.error.model_dump() if report.error else None}
    if report.node:
        changes["node"] = report.node  # the fence of its place is the cluster's to say
    if report.nics:
        changes["nics"] = [n.model_dump() for n in report.nics]
    if report.display.port:
        changes["display_port"] = report.display.port
    if report.state == InstanceState.STOPPED:
        changes["wanted"] = InstanceState.STOPPED
    return changes


_MOVING = (InstanceState.QUEUED, InstanceState.STARTING, InstanceState.STOPPING, InstanceState.UNKNOWN)


def _leaves_stopped(row: Instance, task: Task) -> bool:
    return bool(row.wanted == InstanceState.STOPPED) if task.kind == InstanceRestore.kind else task.kind in (InstanceStop.kind, tasks.PREPARE, tasks.SUBMIT)


def ended(task: Task, report: Outcome) -> None:
    """A task about an instance ended: the instance follows unless its node said so already; who waits may have its turn."""
    queue.forget(task.pk)
    _follow(task, report)
    if report.error is not None or task.kind not in instances.RUNS:
        queue.freed(Instance.objects.filter(pk=task.subject).values_list("cluster", flat=True).first() or "")
    admission.admit()


def _follow(task: Task, report: Outcome) -> None:
    row = _held(task.subject)
    if row is None or row.state == InstanceState.DELETED:
        return
    if report.error is None and task.kind == InstanceDelete.kind:
        instances.move(row, "deleted")  # also when another order was given since: nothing is left of it
        return
    place, is_newest = report.place, row.task == task.id
    if place is not None and place.instance == row.pk and place.node != row.node and (is_newest or not row.node):
        # the cluster said so before, and that was lost on its way
        _placed(place)
        row.refresh_from_db()
        if not is_newest:
            instances.ask_its_node(row)  # what it said meanwhile was not believed
    if not is_newest:
        return
    if report.error is not None:
        _came_to_nothing(row, task, report.error)
        return
    if row.state in _MOVING:
        instances.move(row, "seen_stopped" if _leaves_stopped(row, task) else "seen_running")
    if row.contradicted:
        Instance.objects.filter(pk=row.pk).update(contradicted="")
        instances.ask_its_node(row)


def _came_to_nothing(row: Instance, task: Task, fault: Fault) -> None:
    error, is_cancelled = fault.model_dump(), fault.code == "cancelled"
    if is_cancelled and task.kind == InstanceDelete.kind and row.contradicted != InstanceState.DELETED:
        Instance.objects.filter(pk=row.pk).update(wanted=InstanceState.RUNNING)  # it may be; what its node says counts from here on
    if is_cancelled and task.kind in instances.RUNS and instances.withdraw(row, error=error):
        return
    event = "fail"
    if is_cancelled:
        event = "host_silent" if row.node else "undone"
    instances.ask_its_node(row)
    if INSTANCE.allows(row.state, event):
        instances.move(row, event, error=error)
    else:
        Instance.objects.filter(pk=row.pk).update(error=error)

