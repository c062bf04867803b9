"""Runs become orders when it is their turn: who waits is given to a cluster, comes back when it has no room, and waits no longer than may be."""

from __future__ import annotations

from clc.services import cards, hosts, images, instances, queue, tasks
from clc.services.own import own
from luhyaapi import clock, log
from luhyaapi.contracts.commands import InstanceRestore, InstanceRun
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.vocabulary import InstanceState, Persistence, Role, TaskState, Usage
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.signing import make_ticket
from luhyadb import memory
from luhyadb.models import Gate, Host, Instance, Turn

_TICKET_LIFE_S = 6 * 3600.0
_log = log.get(__name__)
_TAKES_NOTHING = (InstanceState.DELETED, InstanceState.STOPPED, InstanceState.FAILED)


def admit() -> int:
    """Give clusters as many of those who wait as they take now, the emptiest cluster first; how many."""
    with memory.atomic():
        if queue.is_empty():
            queue.calm()
            return 0
        store = next(iter(hosts.hosts_of(Role.WALRUS)), None)
        open_ = queue.gates() if store else []
        used = {g.pk: Instance.objects.filter(cluster=g.pk).exclude(state__in=_TAKES_NOTHING).count() for g in open_}
        handed = 0
        while open_ and store:
            gate: Gate = min(open_, key=lambda g: (used[g.pk], g.pk))
            turn = queue.next_for(gate)
            if turn is None:
                open_.remove(gate)
                continue
            if queue.hand(turn, gate.pk):
                if _handed_down(turn, gate.pk, store):
                    used[gate.pk] += 1
                    handed += 1
                if queue.is_empty():
                    break
    return handed


def _handed_down(turn: Turn, cluster: str, store: Host) -> bool:
    """False: that one cannot be given to anybody, and ends; those behind it are not held up."""
    try:
        with memory.atomic():
            _hand_down(turn, cluster, store)
    except Refused as e:
        _log.warning("a run whose turn it was cannot be given to its cluster", task=turn.task_id, cluster=cluster, why=str(e))
        queue.forget(turn.task_id)
        turn.task.refresh_from_db()
        instances.gave_up(turn.task, e)
        return False
    return True


def _hand_down(turn: Turn, cluster: str, store: Host) -> None:
    instances.held(None, turn.task.subject)
    row = Instance.objects.select_related("owner", "image__image").get(pk=turn.task.subject)
    if row.state == InstanceState.DELETED or row.task != turn.task_id:
        raise Refused("state", "This run is not wanted any more", f"its instance is {row.state}")
    ref = images.reference(turn.image or row.image)
    ticket = make_ticket(own().key, {"get": [b.sha256 for b in ref.blobs], "to": cluster}, _TICKET_LIFE_S)
    if turn.image is not None:
        boot = row.wanted == InstanceState.RUNNING
        order = InstanceRestore(instance=row.id, image=ref, image_url=store.address, image_ticket=ticket, boot=boot, node=instances.is_on(row))
        tasks.send(turn.task, order, Host.objects.get(pk=cluster), gen=instances.restoring(row), fence=row.fence)
        queue.placed(turn.task_id)
        return
    tasks.send(turn.task, InstanceRun(
        instance=row.id, name=row.name, usage=Usage(row.usage), cpus=row.cpus, memory_mib=row.memory_mib, image=ref,
        image_url=store.address, image_ticket=ticket, owner=row.owner.username, ssh_keys=tuple(row.ssh_keys), user_data=row.user_data,
        boot=row.wanted == InstanceState.RUNNING, transient=row.persistence == Persistence.TRANSIENT, data_disk_mib=row.data_disk_mib,
        networks=cards.cards_of(row), first_boot_offline=row.first_boot_offline, node=instances.is_on(row),
    ), Host.objects.get(pk=cluster), gen=row.gen, fence=row.fence, attempt=turn.attempt)
    instances.goes_to(row.pk, cluster)


def put_back(report: Outcome) -> bool:
    """A run that its cluster has no room for waits on; whether the Outcome said that of one that still may."""
    if report.error is None or report.error.code != "no_capacity":
        return False
    turn = queue.asked_by(report.command)
    if turn is None:
        return False
    row = Instance.objects.filter(pk=turn.task.subject, task=turn.task_id, state=InstanceState.QUEUED).first()
    if row is None or turn.task.state not in (TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELLING):
        return False
    is_cancelled = turn.task.state == TaskState.CANCELLING
    if not is_cancelled and turn.until <= clock.now():
        return False
    queue.refuse(turn, report.error.what, report.error.why)
    instances.goes_to(row.pk, turn.cluster)
    if is_cancelled or not tasks.wait(turn.task, turn.until, report.error.what):
        queue.forget(turn.task_id)
        instances.gave_up(turn.task, Refused("cancelled", "It was cancelled"))
    admit()  # somebody smaller, or another cluster
    return True


def tend() -> None:
    """End the runs that waited too long; have those tried whose turn it is."""
    for turn in queue.overdue():
        with memory.atomic():
            if queue.leave(turn.task_id):
                what, why = queue.reason(turn)
                instances.gave_up(turn.task, Unavailable("no_capacity", "No room was found in time", why or what))
    queue.forget_lost()
    admit()
