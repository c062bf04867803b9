"""Make the next version of an image through a running guest: prepare, edit, submit. The only writer of Workspace.

Preparing and submitting are tasks of it; a submit gives two orders, to the cluster (push the disk up) and to the store (keep it).
A submit that comes to nothing leaves the workspace as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clc.services import events, hosts, images, instance_reports, instances, sizes, tasks
from clc.services.own import own
from luhyaapi import clock, ids, log
from luhyaapi.contracts.commands import ImageAdopt, InstanceSubmit
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.vocabulary import ImageState, InstanceState, Kind, Part, Role, Verb, WorkspaceState
from luhyaapi.errors import Refused, Trouble, Unavailable
from luhyaapi.machines import TASK, WORKSPACE
from luhyaapi.wire.signing import make_ticket
from luhyadb import memory, scope
from luhyadb.models import Account, Host, Image, ImageVersion, Task, Workspace

_log = log.get(__name__)
LIFE_S = 30 * 86400.0
"""A workspace in which nothing was done for so long is abandoned."""
_TICKET_LIFE_S = 6 * 3600.0


@dataclass(frozen=True)
class Ask:
    """What somebody wants to change: the next version of ``image``, or with ``name`` a new image made from it."""

    image: str
    name: str = ""
    description: str = ""
    cpus: int | None = None
    memory_bytes: int | None = None


def begin(account: Account, ask: Ask) -> Workspace:
    """A private disk over the newest version of an image (``name:version`` for a certain one), being prepared.

    Raises Refused(invalid | not_found | exists | state | quota | forbidden), Unavailable(no_capacity).
    """
    with memory.atomic():
        base = images.runnable(account, ask.image, Verb.EXECUTE if ask.name else Verb.WRITE)
        if ask.name:
            scope.require(account, Kind.IMAGE, Verb.CREATE, base.image.group_id)
        if not any(b["part"] == Part.DISK for b in base.blobs):
            raise Refused("state", f"The image {base.image.name} cannot be modified", "it has no disk: its system lives in memory",
                          hint="Upload another kernel or ram disk as its next version.")
        if ask.name:
            _check_new(ask.name)
        memory_mib = images.memory_mib(base.blobs) if ask.memory_bytes is None else sizes.memory_mib(ask.memory_bytes)
        row = instances.prepare(account, base, "", 1 if ask.cpus is None else ask.cpus, memory_mib)
        now = clock.now()
        space = Workspace.objects.create(
            id=ids.new("wks"), name=ask.name or base.image.name, is_new=bool(ask.name), base=base, owner=account, instance=row,
            task=row.task, description=ask.description[:2000], created_at=now, changed_at=now,
        )
        events.record("workspace", space.pk, "workspace preparing", owner=account, task=space.task, image=space.name, base=base.version)
    return space


def _check_new(name: str, space: Workspace | None = None) -> None:
    images.check_name(name)
    others = Workspace.objects.filter(name=name, is_new=True).exclude(state__in=WORKSPACE.final).exclude(pk=space.pk if space else "")
    if Image.objects.filter(name=name, retired=False).exists() or others.exists():
        raise Refused("exists", f"There is an image {name!r} already", "or somebody is making one of that name", field="name")


def start(account: Account, ident: str) -> Workspace:
    """Run its instance. Raises Refused(state), Unavailable(no_capacity | host_silent)."""
    space = _editing(account, ident, "run")
    instances.start(account, space.instance_id)
    return _touched(space)


def stop(account: Account, ident: str, grace_s: float = 60) -> Workspace:
    """Stop its instance; what was changed stays. Raises Refused(state)."""
    space = _editing(account, ident, "stop")
    instances.stop(account, space.instance_id, grace_s)
    return _touched(space)


def submit(account: Account, ident: str, note: str = "", *, anyway: bool = False) -> Workspace:
    """Stop it and publish what was changed, as the next version with that release note.

    Raises Refused(state), Refused(conflict) when another version was published since this one began, or just is, unless ``anyway``,
    Unavailable(host_silent).
    """
    with memory.atomic():
        space = _editing(account, ident, "submit")
        if space.is_new:
            _check_new(space.name, space)
        elif not anyway:
            _check_newest(space)
        walrus = _store()
        task = tasks.open_task(tasks.SUBMIT, account, space.instance_id, space.name, InstanceSubmit.timeout_s)
        ticket = make_ticket(own().key, {"bring": task.pk, "to": space.instance.cluster}, _TICKET_LIFE_S)
        instances.submit(space.instance, task, InstanceSubmit(instance=space.instance_id, draft=task.pk, url=walrus.address, ticket=ticket))
        _move(space, "submit", task=task.pk, note=note[:2000], error=None)
    return space


def _check_newest(space: Workspace) -> None:
    Image.objects.select_for_update().get(pk=space.base.image_id)  # whoever else submits now waits here
    others = Workspace.objects.filter(base__image=space.base.image_id, is_new=False, state=WorkspaceState.SUBMITTING)
    if other := others.exclude(pk=space.pk).first():
        raise Refused(
            "conflict", f"Another version of {space.name} is just being published", f"from the workspace {other.pk}",
            hint="Wait for it, or submit yours anyway (with --anyway): the later one is the newest, without what is in the other.",
        )
    if newest := newer(space):
        raise Refused(
            "conflict", f"Version {newest.version} of {space.name} was published meanwhile", f"this workspace began from version {space.base.version}",
            hint="Submit it anyway (with --anyway) to publish yours as the newest, without what is in the other.",
        )


def newer(space: Workspace) -> ImageVersion | None:
    """The version that was published since a workspace began from the newest one."""
    if space.is_new or space.state != WorkspaceState.EDITING:
        return None
    newest = space.base.image.versions.filter(state=ImageState.PUBLISHED).order_by("-version").first()
    return newest if newest != space.base else None


def abandon(account: Account, ident: str) -> Workspace:
    """Throw away what was changed; leaves nothing. Raises Refused(state) when it is over, or just being published."""
    with memory.atomic():
        return end(scope.one(account, Workspace, pk=ident))


def end(space: Workspace) -> Workspace:
    """As :func:`abandon`, for whoever was asked before: its owner may be no more. In a transaction of the caller's."""
    WORKSPACE.advance(space.state, "abandon")
    version = space.version
    if version is not None:
        if tasks.is_open(space.task):
            raise Refused("state", "This workspace cannot be abandoned now", f"version {version.version} is just being published")
        Workspace.objects.filter(pk=space.pk).update(version=None)
        space.refresh_from_db()
        images.refuse(version, "its workspace was abandoned")
    _move(space, "abandon")
    _clear(space)
    return space


def hand_over(of: Account, to: Account) -> None:
    """Those somebody works in are somebody else's from now on. In a transaction."""
    for space in Workspace.objects.select_for_update().filter(owner=of).exclude(state__in=WORKSPACE.final):
        Workspace.objects.filter(pk=space.pk).update(owner=to)
        events.record("workspace", space.pk, "workspace given", owner=to, before={"owner": of.username}, after={"owner": to.username})


def _clear(space: Workspace) -> None:
    """Its instance is needed no more, and what works for it stops."""
    space.instance.refresh_from_db()
    if space.instance.state != InstanceState.DELETED:
        instances.end(space.instance)
        space.instance.refresh_from_db()


def gave_up(task: Task) -> None:
    """It waited in vain for a place; its task has ended."""
    space = Workspace.objects.filter(task=task.pk, state=WorkspaceState.PREPARING).first()
    if space is not None:
        _move(space, "fail", error=task.error)
        _clear(space)


def ended(task: Task, report: Outcome) -> None:
    """One of its orders ended."""
    space = Workspace.objects.select_related("instance", "base__image", "owner").get(instance=task.subject)
    if task.kind == tasks.PREPARE or space.version_id is None:
        instance_reports.ended(task, report)
    if space.state in WORKSPACE.final or space.task != task.pk:
        images.forget(report.blobs, space.base.image_id)  # what was stored for nobody
        if task.state not in TASK.final:
            tasks.advance(task, "end_cancelled", error=Refused("cancelled", "The workspace was abandoned").wire())
        return
    if task.kind == tasks.PREPARE:
        _prepared(space, task, report)
    elif space.version_id is not None:
        _stored(space, task, report)
    elif report.error is None:
        _pushed(space, task)
    else:
        _move(space, "fail", error=report.error.model_dump())


def _prepared(space: Workspace, task: Task, report: Outcome) -> None:
    if report.error is None:
        _move(space, "prepared")
        return
    _move(space, "fail", error=task.error)
    _clear(space)


def _pushed(space: Workspace, task: Task) -> None:
    """The disk is in the store: it becomes a version."""
    try:
        walrus = _store()
    except Unavailable as e:
        tasks.advance(task, "fail", error=e.wire())
        _move(space, "fail", error=e.wire())
        return
    image = images.like(space.base.image, space.name, space.owner, space.description) if space.is_new else space.base.image
    version = images.add_version(image, space.base, space.note, task.pk)
    Workspace.objects.filter(pk=space.pk).update(version=version)
    tasks.send(task, ImageAdopt(image=image.pk, version=version.version, draft=task.pk), walrus, attempt=1, phase="check")


def _stored(space: Workspace, task: Task, report: Outcome) -> None:
    """The store has it whole, or not."""
    version = space.version
    assert version is not None  # noqa: S101 - the caller looked
    if report.error is not None:
        Workspace.objects.filter(pk=space.pk).update(version=None)
        space.refresh_from_db()
        images.refuse(version, f"{report.error.what}: {report.error.why}")
        _move(space, "fail", error=report.error.model_dump())
        return
    kept: list[dict[str, Any]] = [b for b in space.base.blobs if b["part"] != Part.DISK]
    parts = [{**p, "added": 0} for p in space.base.parts if p["part"] != Part.DISK]
    images.publish(version, [*(b.model_dump() for b in report.blobs), *kept], [*(p.model_dump() for p in report.parts), *parts])
    tasks.advance(task, "finish")
    _move(space, "publish")
    _clear(space)


def sweep() -> int:
    """Abandon those in which nothing was done for long; how many."""
    old = Workspace.objects.filter(state=WorkspaceState.EDITING, changed_at__lt=clock.now() - LIFE_S)
    return sum(_abandoned(space) for space in old)


def _abandoned(space: Workspace) -> bool:
    try:
        with memory.atomic():
            end(space)
    except Trouble as e:
        # one that cannot go now holds up nobody else
        _log.warning("an old workspace stays", workspace=space.pk, why=str(e))
        return False
    return True


def _editing(account: Account, ident: str, verb: str) -> Workspace:
    """A workspace in which one may work. Raises Refused(not_found | state)."""
    space = scope.one(account, Workspace, pk=ident)
    if space.state != WorkspaceState.EDITING:
        raise Refused("state", f"This workspace cannot {verb} now", f"it is {space.state}")
    return space


def _store() -> Host:
    walrus = next(iter(hosts.hosts_of(Role.WALRUS)), None)
    if walrus is None or not walrus.address:
        raise Unavailable("host_silent", "The image store does not answer now")
    return walrus


def _touched(space: Workspace) -> Workspace:
    Workspace.objects.filter(pk=space.pk).update(changed_at=clock.now(), error=None)
    space.refresh_from_db()
    return space


def _move(space: Workspace, event: str, **changes: Any) -> None:
    before = space.state
    new = WORKSPACE.advance(before, event)
    if Workspace.objects.filter(pk=space.pk, state=space.state).update(state=new, changed_at=clock.now(), **changes):
        space.refresh_from_db()
        events.record("workspace", space.pk, f"workspace {new}", owner_id=space.owner_id, task=space.task, before={"state": before}, after={"state": new},
                      **({"error": space.error} if space.error else {}))

