"""Define, run, stop, delete instances; have them wait for their turn. What hosts say of them: :mod:`clc.services.instance_reports`."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from clc.services import (
    admission,
    budgets,
    cards,
    events,
    expiry,
    hosts,
    images,
    instance_asks,
    people,
    queue,
    quotas,
    reached,
    runs,
    security_groups,
    sizes,
    tasks,
)
from clc.services.instance_asks import Ask
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import (
    InstanceConnect,
    InstanceDelete,
    InstanceReboot,
    InstanceRestore,
    InstanceRun,
    InstanceStop,
    InstanceSubmit,
)
from luhyaapi.contracts.vocabulary import InstanceState, Verb
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from luhyaapi.machines import INSTANCE, WORKSPACE
from luhyadb import memory, scope
from luhyadb.models import Account, Group, Host, ImageVersion, Instance, Task, Workspace

_FIRST = 1
"""The generation of an instance that was told nothing but its first run."""


@memory.whole
def run(account: Account, ask: Ask) -> list[Instance]:
    """New instances, each with its task; they wait in the queue. Raises Refused(invalid | not_found | exists | quota), Unavailable(no_capacity)."""
    asked = instance_asks.read(account, ask)
    version, count = asked.version, asked.count
    people.require_active(account)
    images.hold(version)
    sizes.check_possible(asked.cpus, asked.memory_mib, asked.data_disk_mib)
    queue.check(account, count)
    quotas.check_machines(account, count, asked.cpus, asked.memory_mib, asked.data_disk_mib)
    budgets.check(account, account.group_id)
    ends = expiry.for_new(account, ask.expires)
    made = []
    for n in range(count):
        ident = ids.new("ins")
        name = instance_asks.name(account, ask.name, n if count > 1 else None, version.image.name, ident)
        now = clock.now()
        row = Instance.objects.create(
            id=ident, name=name, live_name=name, owner=account, group_id=account.group_id, usage=asked.kind, image=version, cpus=asked.cpus,
            memory_mib=asked.memory_mib, ssh_keys=asked.keys, user_data=asked.user_data, persistence=asked.persistence, data_disk_mib=asked.data_disk_mib,
            first_boot_offline=asked.first_boot_offline, created_at=now, changed_at=now,
        )
        cards.plug(row, asked.cards)
        security_groups.join(row, asked.groups)
        expiry.give(row, ends, account.username)
        events.record("instance", ident, "instance defined", owner=account, name=name)
        made.append(_enqueue(row, InstanceRun.kind))
    admission.admit()
    clusters = dict(Instance.objects.filter(pk__in=[row.pk for row in made]).values_list("pk", "cluster"))
    for row in made:
        row.cluster = clusters[row.pk]
    return made


def prepare(account: Account, version: ImageVersion, name: str, cpus: int, memory_mib: int) -> Instance:
    """A new instance that gets its place and its disk and does not run. Raises what :func:`run` raises."""
    people.require_active(account)
    images.hold(version)
    sizes.number("cpus", cpus, 1, sizes.MAX_CPUS)
    sizes.check_possible(cpus, memory_mib)
    queue.check(account, 1)
    quotas.check_machines(account, 1, cpus, memory_mib)
    ident, now = ids.new("ins"), clock.now()
    name = instance_asks.name(account, name, None, version.image.name, ident)
    row = Instance.objects.create(
        id=ident, name=name, live_name=name, owner=account, group_id=account.group_id, usage=version.image.usage, image=version, cpus=cpus,
        memory_mib=memory_mib, created_at=now, changed_at=now,
    )
    events.record("instance", ident, "instance defined", owner=account, name=name)
    _enqueue(row, tasks.PREPARE, InstanceState.STOPPED)
    admission.admit()
    return row


def submit(row: Instance, task: Task, command: InstanceSubmit) -> None:
    """Have its cluster stop it and push its disk up. Raises Refused(state), Unavailable(host_silent)."""
    row = held(None, row.pk)
    if row.state not in (InstanceState.RUNNING, InstanceState.STOPPED):
        raise Refused("state", "The disk cannot be submitted now", f"its instance is {row.state}")
    cluster = _cluster(row)
    gen = row.gen + 1
    tasks.send(task, command.model_copy(update={"node": is_on(row)}), cluster, gen=gen, fence=row.fence)
    if row.state == InstanceState.RUNNING:
        move(row, "stop", wanted=InstanceState.STOPPED, gen=gen, task=task.pk, error=None)
    else:
        Instance.objects.filter(pk=row.pk).update(gen=gen, task=task.pk, error=None)


def is_on(row: Instance) -> str:
    """The node that can say what it has of an instance; empty: none, or one that is gone for good."""
    return "" if hosts.lost(row.node) else row.node


_START = "instance/start"
RUNS = (InstanceRun.kind, _START, tasks.PREPARE, InstanceRestore.kind)
"""Kinds of tasks whose order is to have an instance running: the cluster is told the same."""


def _enqueue(row: Instance, kind: str, wanted: InstanceState = InstanceState.RUNNING) -> Instance:
    row.gen += 1
    task = tasks.open_task(kind, row.owner, row.id, row.name, settings.EDUCLOUD.queue.wait_s)
    queue.enter(task, row)
    begun = {"contradicted": row.state} if row.state == InstanceState.STARTING else {}
    move(row, "start", wanted=wanted, gen=row.gen, task=task.id, error=None, cluster=row.cluster if row.node else "", **begun)
    return row


def await_restore(row: Instance, version: ImageVersion) -> None:
    """Its system disk is made anew from that version when it is its turn; until then it goes on as it is."""
    task = tasks.open_task(InstanceRestore.kind, row.owner, row.id, row.name, settings.EDUCLOUD.queue.wait_s)
    queue.enter(task, row, version)
    Instance.objects.filter(pk=row.pk).update(task=task.pk, error=None)
    row.task, row.error = task.pk, None


def restoring(row: Instance) -> int:
    """Its turn to get a new system disk has come; the generation of the order."""
    move(row, "restore", gen=row.gen + 1)
    return row.gen


def goes_to(ident: str, cluster: str) -> None:
    """The cluster an instance was given to; empty: none."""
    Instance.objects.filter(pk=ident).update(cluster=cluster)


def gave_up(task: Task, error: Trouble) -> Task:
    """The run of a task that left the queue ends; no host was told of it."""
    is_cancelled = error.code == "cancelled"
    task = tasks.advance(task, "end_cancelled" if is_cancelled else "fail", error=error.wire())
    row = Instance.objects.filter(pk=task.subject, task=task.pk).first()
    if row is not None and task.kind == InstanceRestore.kind:
        Instance.objects.filter(pk=row.pk).update(error=None if is_cancelled else error.wire())
    elif row is not None and not (is_cancelled and withdraw(row, error=error.wire())):
        move(row, "undone" if is_cancelled else "fail", error=error.wire(), **({"wanted": InstanceState.STOPPED} if is_cancelled else {}))
        ask_its_node(row)
    if task.kind == tasks.PREPARE:
        from clc.services import workspaces

        workspaces.gave_up(task)
    return task


def host_lost(host: Host) -> Failed:
    """What ends what was on a machine that is gone for good."""
    return Failed("host_lost", "Its host is gone for good, and its disk with it", host.name)


def lose_place(ident: str, host: Host) -> None:
    """It has no place any more, for its machine is gone for good; what was being deleted is deleted by that. In a transaction of the caller's."""
    row = held(None, ident)
    if row.state == InstanceState.DELETED:
        return
    reached.unplaced(row)
    if row.wanted == InstanceState.DELETED:
        move(row, "deleted")
        return
    # a generation of its own: what was said of it before is old
    move(row, "fail" if row.state == InstanceState.QUEUED else "seen_failed", wanted=InstanceState.STOPPED, error=host_lost(host).wire(), gen=row.gen + 1,
         node="", cluster="", nics=[], display_port=0)


def hand_over(of: Account, to: Account) -> None:
    """What is somebody's is somebody else's from now on, in the group it belongs to; called otherwise where that name is taken. In a transaction."""
    for row in Instance.objects.select_for_update().filter(owner=of).exclude(state=InstanceState.DELETED).order_by("pk"):
        name = row.name if not Instance.objects.filter(owner=to, live_name=row.name).exists() else f"{row.name[:54]}-{row.pk[-8:]}"
        Instance.objects.filter(pk=row.pk).update(owner=to, name=name, live_name=name)
        events.record("instance", row.pk, "instance given", owner=to, before={"owner": of.username, "name": row.name},
                      after={"owner": to.username, "name": name})


def ask_its_node(row: Instance) -> None:
    """How the guest is now only its node knows: an order came to nothing and may never have begun, or something else was said of it."""
    if row.node:
        hosts.ask(row.node)


@memory.whole
def start(account: Account, ident: str) -> Instance:
    """Run a stopped instance again, in its place. Raises Refused(state | quota), Unavailable(no_capacity | host_silent)."""
    row = held(account, ident, Verb.EXECUTE)
    INSTANCE.advance(row.state, "start")
    if row.wanted == InstanceState.DELETED:
        raise Refused("state", "This instance cannot start now", "it is being deleted, and its disk may be gone already")
    if queue.waits(row.task):
        raise Refused("state", "This instance cannot start now", "it waits for a new system disk", hint="Wait for that task, or cancel it.")
    if row.node:
        _cluster(row)
    expiry.check_may_start(row)
    budgets.check(row.owner, row.group_id)
    queue.check(row.owner, 1)
    _enqueue(row, _START)
    admission.admit()
    row.refresh_from_db()
    return row


def _cluster(row: Instance) -> Host:
    host = Host.objects.filter(pk=row.cluster).first()
    if host is None:
        raise Unavailable("host_silent", "Its cluster is not there any more", row.cluster)
    return host


def stop(account: Account | None, ident: str, grace_s: float = 30) -> Instance:
    """Stop an instance: asked politely, by force after ``grace_s`` seconds. None: the cloud itself asks."""
    grace = sizes.number("grace_s", int(grace_s), 0, 600, " s")
    return _order(account, ident, "stop", InstanceState.STOPPED, InstanceStop(instance=ident, grace_s=grace))


def reboot(account: Account, ident: str, grace_s: float = 30) -> Instance:
    """Stop and start an instance in its place."""
    grace = sizes.number("grace_s", int(grace_s), 0, 600, " s")
    return _order(account, ident, "reboot", InstanceState.RUNNING, InstanceReboot(instance=ident, grace_s=grace))


def connect(account: Account, ident: str) -> Instance:
    """Give an instance its network, whether or not its first boot is done."""
    return _order(account, ident, "connect", InstanceState.RUNNING, InstanceConnect(instance=ident))


@memory.whole
def delete(account: Account | None, ident: str) -> Instance:
    """Leave nothing of an instance; wins over whatever is going on with it. None: the cloud itself asks."""
    return end(held(account, ident, Verb.DELETE))


def end(row: Instance) -> Instance:
    """As :func:`delete`, for whoever was asked before: its owner may be no more. In a transaction of the caller's."""
    row = held(None, row.pk)
    if open_ := Workspace.objects.filter(instance=row).exclude(state__in=WORKSPACE.final).first():
        raise Refused("state", "This instance cannot be deleted", f"the workspace {open_.pk} works in it", hint="Abandon the workspace, or submit it.")
    if row.state != InstanceState.DELETED and not _is_waiting(row):
        for task in Task.objects.filter(subject=row.id, state__in=["queued", "running"]).exclude(kind="instance/delete"):
            tasks.withdraw(task)
        row.refresh_from_db()
    return _given(row, "delete", InstanceState.DELETED, InstanceDelete(instance=row.pk))


def held(account: Account | None, ident: str, verb: Verb = Verb.READ) -> Instance:
    """The instance as it is, which nobody else changes until this transaction ends. Raises Refused(not_found | forbidden)."""
    pk = scope.one(account, Instance, verb, pk=ident).pk if account else ident
    return Instance.objects.select_for_update().get(pk=pk)


@memory.whole
def _order(account: Account | None, ident: str, event: str, wanted: InstanceState, command: Any) -> Instance:
    return _given(held(account, ident, Verb.EXECUTE), event, wanted, command)


def _given(row: Instance, event: str, wanted: InstanceState, command: Any) -> Instance:
    INSTANCE.advance(row.state, event)
    waited = bool(row.task) and queue.leave(row.task)
    if waited:
        cancelled = Refused("cancelled", "It was cancelled").wire()
        tasks.advance(Task.objects.get(pk=row.task), "end_cancelled", error=cancelled)
    was_off = row.state == InstanceState.QUEUED and row.contradicted != InstanceState.STARTING
    if not row.cluster or (waited and event == "stop" and was_off):
        return _at_once(row, wanted, command.kind)
    cluster = _cluster(row)
    row.gen += 1
    task = tasks.open_task(command.kind, row.owner, row.id, row.name, command.timeout_s)
    tasks.send(task, command.model_copy(update={"node": is_on(row)}), cluster, gen=row.gen, fence=row.fence)
    move(row, event, wanted=wanted, gen=row.gen, task=task.id, error=None)
    return row


def _is_waiting(row: Instance) -> bool:
    return row.state == InstanceState.QUEUED and queue.waits(row.task)


def _at_once(row: Instance, wanted: InstanceState, kind: str) -> Instance:
    """Stop or delete what no host knows of, or what its host was not told to run: there is nobody to tell."""
    task = tasks.open_task(kind, row.owner, row.id, row.name, 0)
    event = "deleted" if wanted == InstanceState.DELETED else "undone" if row.state == InstanceState.QUEUED else "seen_stopped"
    move(row, event, wanted=wanted, task=task.id, error=None)
    tasks.advance(task, "finish")
    return row


_MAY_CHANGE = [f.attname for f in Instance._meta.concrete_fields if f.name not in ("owner", "image")]  # noqa: SLF001 - public, in spite of its name
"""All but its owner and its image: what is known of those need not be read again."""


def move(row: Instance, event: str, *, what: str = "", said_by: str = "", **changes: Any) -> None:
    """Move an instance by its life cycle, by compare and set, and tell it; ``said_by`` the host that saw it so. Raises Refused(state)."""
    before = row.state
    new = INSTANCE.advance(before, event)
    if new == InstanceState.DELETED:
        changes |= {"live_name": None, "user_data": "", "nics": [], "display_port": 0, "node": ""}
    moved = Instance.objects.filter(pk=row.pk, state=before).update(state=new, changed_at=clock.now(), **changes)
    row.refresh_from_db(fields=_MAY_CHANGE)
    if moved:
        runs.follow(row, new)
        events.record("instance", row.pk, what or f"instance {new}", owner_id=row.owner_id, task=row.task, host=said_by, before={"state": before},
                      after={"state": new})
    if moved and new == InstanceState.DELETED:
        reached.forget(row)


def withdraw(row: Instance, **changes: Any) -> bool:
    """A first run that was cancelled and wholly undone leaves no instance; whether it is so. Its task keeps the story.

    What has a place still may have left something there: it stays, to be deleted by its owner.
    """
    if row.gen != _FIRST or row.node or row.state == InstanceState.DELETED:
        return False
    move(row, "deleted", what="instance withdrawn", wanted=InstanceState.DELETED, **changes)
    return True


def resolve(account: Account, text: str) -> Instance:
    """The visible instance with that id, or that unique name. Raises Refused(not_found | conflict)."""
    if ids.is_id(text, "ins"):
        return scope.one(account, Instance, pk=text)
    rows = scope.visible_to(account, Instance).filter(live_name=text)[:2]
    if len(rows) > 1:
        raise Refused("conflict", f"Several instances are called {text!r}", "use the id")
    return rows[0] if rows else scope.one(account, Instance, live_name=text)


def forget_group(group: Group) -> None:
    """A group is given up: what is deleted was of the one above."""
    Instance.objects.filter(group=group, state=InstanceState.DELETED).update(group=group.parent_id)
