"""Define, run, stop, delete instances; choose the cluster: the only writer of Instance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clc.services import events, hosts, images, people, tasks
from clc.services.own import own
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import InstanceDelete, InstanceReboot, InstanceRun, InstanceStop
from luhyaapi.contracts.reports import InstanceFacts, Outcome, PlacementFacts
from luhyaapi.contracts.vocabulary import InstanceState, Role, Usage
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.machines import INSTANCE
from luhyaapi.wire.signing import make_ticket
from luhyadb import memory, scope
from luhyadb.models import Account, Host, Image, ImageVersion, Instance, Task

MIB = 1024 * 1024
MAX_CPUS, MIN_MEMORY_MIB, MAX_MEMORY_MIB, MAX_COUNT = 64, 64, 1024 * 1024, 100
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SSH_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\x00-\x1f\x7f\x85\u2028\u2029]{0,200})?")
_TICKET_LIFE_S = 6 * 3600.0
_FIRST = 1
"""The generation of an instance that was told nothing but its first run."""


@dataclass(frozen=True)
class Ask:
    """What a user asks for. ``memory_bytes`` and ``cpus`` None: the image's default."""

    image: str
    name: str = ""
    cpus: int | None = None
    memory_bytes: int | None = None
    count: int = 1
    kind: str = ""
    ssh_keys: Sequence[str] = ()


def _number(field: str, value: object, low: int, high: int, unit: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused("invalid", f"{field} is not possible", f"give {low} to {high}{unit}; you gave {str(value)[:40]}", field=field)
    return value


def _memory_mib(asked: object) -> int:
    if not isinstance(asked, int) or isinstance(asked, bool) or not MIN_MEMORY_MIB * MIB <= asked <= MAX_MEMORY_MIB * MIB:
        raise Refused("invalid", "That much memory is not possible", "give 64M to 1T", field="memory_bytes")
    return asked // MIB


def run(account: Account, ask: Ask) -> list[Instance]:
    """New instances, each with its task. Raises Refused(invalid | not_found | exists), Unavailable(no_capacity | host_silent)."""
    version = images.runnable(account, ask.image)
    count = _number("count", ask.count, 1, MAX_COUNT)
    cpus = _number("cpus", 1 if ask.cpus is None else ask.cpus, 1, MAX_CPUS)
    memory_mib = images.memory_mib(version.blobs) if ask.memory_bytes is None else _memory_mib(ask.memory_bytes)
    kind = ask.kind or version.image.usage
    if kind not in list(Usage):
        raise Refused("invalid", "kind is not possible", f"give desktop or server, not {kind[:20]!r}", field="kind")
    keys = [k.strip() for k in ask.ssh_keys]
    if bad := [k for k in keys if not _SSH_KEY.fullmatch(k)]:
        raise Refused("invalid", "An ssh key cannot be read", f"{bad[0][:30]!r} is not a one-line public key", field="ssh_keys")
    with memory.atomic():
        people.require_active(account)
        cluster = choose_cluster()
        made = []
        for n in range(count):
            ident = ids.new("ins")
            name = _name(account, ask.name, n if count > 1 else None, version.image.name, ident)
            now = clock.now()
            row = Instance.objects.create(
                id=ident, name=name, live_name=name, owner=account, usage=kind, image=version, cpus=cpus, memory_mib=memory_mib,
                ssh_keys=keys, cluster=cluster.id, created_at=now, changed_at=now,
            )
            events.record("instance", ident, "instance defined", owner=account, name=name)
            made.append(_start(account, row, cluster))
    return made


def _name(account: Account, asked: str, n: int | None, image: str, ident: str) -> str:
    name = asked if n is None else f"{asked or image}-{n + 1}"
    name = name or f"{image[:54]}-{ident[-8:]}"
    if not _NAME.fullmatch(name):
        raise Refused("invalid", "The name is not possible", "letters, digits, dot, dash and underscore, at most 63, no other sign",
                      field="name")
    if Instance.objects.filter(owner=account, live_name=name).exists():
        raise Refused("exists", f"You have an instance {name!r} already", field="name")
    return name


def choose_cluster() -> Host:
    """The cluster for a new instance: the one with the most free memory of those that answer."""
    up = hosts.hosts_of(Role.CC)
    if not up:
        if Host.objects.filter(role=Role.CC).exclude(state="retired").exists():
            raise Unavailable("host_silent", "No cluster answers now")
        raise Unavailable("no_capacity", "There is no cluster yet", "no CC has joined")
    used = {c.id: Instance.objects.filter(cluster=c.id).exclude(state__in=["deleted", "stopped"]).count() for c in up}
    return min(up, key=lambda c: (used[c.id], c.id))


def _start(account: Account, row: Instance, cluster: Host) -> Instance:
    store = next(iter(hosts.hosts_of(Role.WALRUS)), None)
    if store is None:
        raise Unavailable("host_silent", "The image store does not answer now")
    row.gen += 1
    task = tasks.open_task("instance/run", account, row.id, row.name, InstanceRun.timeout_s)
    ref = images.reference(row.image)
    ticket = make_ticket(own().key, {"get": [b.sha256 for b in ref.blobs], "to": cluster.id}, _TICKET_LIFE_S)
    tasks.send(task, InstanceRun(
        instance=row.id, name=row.name, usage=Usage(row.usage), cpus=row.cpus, memory_mib=row.memory_mib, image=ref,
        image_url=store.address, image_ticket=ticket, owner=account.username, ssh_keys=tuple(row.ssh_keys),
    ), cluster, gen=row.gen)
    move(row, "start", wanted=InstanceState.RUNNING, gen=row.gen, task=task.id, error=None)
    return row


def start(account: Account, ident: str) -> Instance:
    """Run a stopped instance again, in its place."""
    with memory.atomic():
        row = scope.one(account, Instance, pk=ident)
        INSTANCE.advance(row.state, "start")
        return _start(row.owner, row, _cluster(row))


def _cluster(row: Instance) -> Host:
    host = Host.objects.filter(pk=row.cluster).first()
    if host is None:
        raise Unavailable("host_silent", "Its cluster is not there any more", row.cluster)
    return host


def stop(account: Account, ident: str, grace_s: float = 30) -> Instance:
    """Stop an instance: asked politely, by force after ``grace_s`` seconds."""
    grace = _number("grace_s", int(grace_s), 0, 600, " s")
    return _order(account, ident, "stop", InstanceState.STOPPED, InstanceStop(instance=ident, grace_s=grace))


def reboot(account: Account, ident: str, grace_s: float = 30) -> Instance:
    """Stop and start an instance in its place."""
    grace = _number("grace_s", int(grace_s), 0, 600, " s")
    return _order(account, ident, "reboot", InstanceState.RUNNING, InstanceReboot(instance=ident, grace_s=grace))


def delete(account: Account, ident: str) -> Instance:
    """Leave nothing of an instance; wins over whatever is going on with it."""
    with memory.atomic():
        row = scope.one(account, Instance, pk=ident)
        if row.state != InstanceState.DELETED:
            for task in Task.objects.filter(subject=row.id, state__in=["queued", "running"]).exclude(kind="instance/delete"):
                tasks.cancel(row.owner, task.id)
        return _order(account, ident, "delete", InstanceState.DELETED, InstanceDelete(instance=ident))


def _order(account: Account, ident: str, event: str, wanted: InstanceState, command: Any) -> Instance:
    with memory.atomic():
        row = scope.one(account, Instance, pk=ident)
        INSTANCE.advance(row.state, event)
        cluster = _cluster(row)
        row.gen += 1
        task = tasks.open_task(command.kind, row.owner, row.id, row.name, command.timeout_s)
        tasks.send(task, command, cluster, gen=row.gen)
        move(row, event, wanted=wanted, gen=row.gen, task=task.id, error=None)
    return row


def move(row: Instance, event: str, *, what: str = "", **changes: Any) -> None:
    """Move an instance by its life cycle, by compare and set, and tell it. Raises Refused(state)."""
    before = row.state
    new = INSTANCE.advance(before, event)
    if new == InstanceState.DELETED:
        changes |= {"live_name": None, "nics": [], "display_port": 0, "node": ""}
    if Instance.objects.filter(pk=row.pk, state=before).update(state=new, changed_at=clock.now(), **changes):
        row.refresh_from_db()
        events.record("instance", row.pk, what or f"instance {new}", owner_id=row.owner_id, task=row.task, host=row.node)
    else:
        row.refresh_from_db()


def placed(report: PlacementFacts) -> None:
    """The cluster chose a node, or took the place back."""
    row = Instance.objects.filter(pk=report.instance).first()
    if row is None or row.state == InstanceState.DELETED:
        return
    Instance.objects.filter(pk=row.pk).update(
        node=report.node, nics=[n.model_dump() for n in report.nics], display_port=report.display.port, why=report.why,
        changed_at=clock.now(),
    )
    if not report.node and row.state in (InstanceState.RUNNING, InstanceState.UNKNOWN):
        row.refresh_from_db()
        move(row, "seen_stopped", wanted=InstanceState.STOPPED)  # its run was taken back
    row.refresh_from_db()
    if (row.error or {}).get("code") == "cancelled" and not tasks.is_open(row.task):
        _withdraw(row)
    what = "instance placed" if report.node else "instance has no place"
    events.record("instance", row.pk, what, owner_id=row.owner_id, task=report.task, host=report.node)


_SEEN = {
    InstanceState.STARTING: "seen_starting", InstanceState.RUNNING: "seen_running", InstanceState.STOPPED: "seen_stopped",
    InstanceState.FAILED: "seen_failed",
}


def found(report: InstanceFacts) -> None:
    """What its node says of an instance; while an order is under way, only what the order leads to."""
    row = Instance.objects.filter(pk=report.instance).first()
    event = _SEEN.get(report.state)
    if row is None or event is None or not INSTANCE.allows(row.state, event):
        return
    is_old, is_halfway = report.gen < row.gen, row.state in _MOVING and report.state != row.wanted
    if (is_old or is_halfway) and tasks.is_open(row.task):
        return  # the Outcome will tell: a reboot passes through stopped
    changes: dict[str, Any] = {"accelerator": report.accelerator}
    if report.gen > row.gen:
        changes["gen"] = report.gen  # our memory is an older copy: the next order must be newer than what the node knows
    if report.node:
        changes["node"] = report.node
    if report.nics:
        changes["nics"] = [n.model_dump() for n in report.nics]
    if report.display.port:
        changes["display_port"] = report.display.port
    if report.state == InstanceState.STOPPED:
        changes["wanted"] = InstanceState.STOPPED
    changes["error"] = report.error.model_dump() if report.error else None
    if row.state == _named(event):
        Instance.objects.filter(pk=row.pk).update(**changes)
        return
    move(row, event, **changes)


_MOVING = (InstanceState.STARTING, InstanceState.STOPPING, InstanceState.UNKNOWN)


def _named(event: str) -> str:
    return event.removeprefix("seen_")


def ended(task: Task, report: Outcome) -> None:
    """A task about an instance ended: the instance follows unless its node said so already."""
    row = Instance.objects.filter(pk=task.subject).first()
    if row is None or row.task != task.id:
        return
    if report.error is None:
        event = {"instance/run": "seen_running", "instance/reboot": "seen_running", "instance/stop": "seen_stopped",
                 "instance/delete": "deleted"}.get(task.kind, "")
        if event == "deleted" or row.state in _MOVING:
            move(row, event)
        return
    error = report.error.model_dump()
    is_cancelled = report.error.code == "cancelled"
    if is_cancelled and task.kind == InstanceRun.kind and _withdraw(row, error=error):
        return
    event = "undone" if is_cancelled else "fail"
    if row.node and (is_cancelled or task.kind != InstanceRun.kind):
        # the order may never have begun, and the guest run as before: only its node knows
        hosts.ask(row.node)
        event = "host_silent" if is_cancelled else event
    if INSTANCE.allows(row.state, event):
        move(row, event, error=error)
    else:
        Instance.objects.filter(pk=row.pk).update(error=error)


def _withdraw(row: Instance, **changes: Any) -> bool:
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


__all__ = ["Ask", "Image", "ImageVersion", "delete", "ended", "found", "placed", "reboot", "resolve", "run", "start", "stop"]
