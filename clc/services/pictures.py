"""How rows look to the outside: one shape per noun for API, pages and events; bytes, UTC texts, plain words."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Max, Sum, prefetch_related_objects

from clc.services import endings, image_uses, lock_out, passkeys, prefetches, queue, second_step
from clc.services.own import own
from clc.services.sentences import counted
from clc.services.tasks import PREPARE
from luhyaapi import clock, ids, subnets
from luhyaapi.contracts.vocabulary import (
    Accelerator,
    Health,
    HostState,
    ImageState,
    InstanceState,
    Role,
    TaskState,
)
from luhyaapi.machines import TASK
from luhyaapi.status.board import Board
from luhyadb import letters as dead
from luhyadb import outbox
from luhyadb.models import Account, Event, Expiry, Host, ImageVersion, Instance, Letter, Outbox, Task, TaskStep

MIB = 1024 * 1024
Picture = dict[str, Any]
_NOT_FACTS = frozenset({"host", "at", "health"})


@functools.cache
def board() -> Board:
    """The board of this process."""
    s = settings.EDUCLOUD
    return Board(s.board.host, s.board.port, s.beat.every_s)


def when(stamp: float) -> str | None:
    """RFC 3339 in UTC; None for a moment that has not come."""
    return clock.rfc3339(stamp) if stamp else None


def fault(told: Mapping[str, Any] | None) -> dict[str, str] | None:
    """An error that stands on something, in the form of the API."""
    return {k: str(told.get(k) or "") for k in ("code", "what", "why", "hint")} if told else None


# instances


def _names(host_ids: Iterable[str]) -> dict[str, str]:
    return dict(Host.objects.filter(pk__in={h for h in host_ids if h}).values_list("pk", "name"))


INSTANCE_COLUMNS = (
    "pk", "name", "state", "wanted", "usage", "image__image__name", "image__image_id", "image__version", "cpus", "memory_mib",
    "persistence", "data_disk_mib", "first_boot_offline", "offline",
    "owner__username", "group__path", "cluster", "node", "nics", "display_port", "accelerator", "error", "created_at", "changed_at", "task",
    "expiry__expires_at",
)


def instances(rows: Iterable[Instance]) -> list[Picture]:
    """Pictures of many instances, with five more queries in all."""
    known = list(rows)
    prefetch_related_objects(known, "image__image", "owner", "group")
    ends = dict(Expiry.objects.filter(instance__in=[r.pk for r in known]).values_list("instance", "expires_at"))
    return instances_of([{
        **{name: getattr(r, name) for name in INSTANCE_COLUMNS if "__" not in name}, "image__image__name": r.image.image.name,
        "image__image_id": r.image.image_id, "image__version": r.image.version, "owner__username": r.owner.username,
        "group__path": r.group.path, "expiry__expires_at": ends.get(r.pk),
    } for r in known])


def instance(row: Instance) -> Picture:
    """One instance."""
    return instances([row])[0]


def instances_of(rows: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Pictures of instances read as dictionaries of ``INSTANCE_COLUMNS``, with one more query for the names of hosts and one for newest versions."""
    names = _names(h for r in rows for h in (r["cluster"], r["node"]))
    newest = _newest({r["image__image_id"] for r in rows})
    waits = queue.looks(r["task"] for r in rows if r["state"] == InstanceState.QUEUED)
    return [_instance(r, names, newest, waits.get(r["task"])) for r in rows]


def _newest(image_ids: Iterable[str]) -> dict[str, int]:
    """The newest published version of each of these images that has one."""
    published = ImageVersion.objects.filter(image__in=image_ids, state=ImageState.PUBLISHED).order_by()
    return dict(published.values("image").annotate(newest=Max("version")).values_list("image", "newest"))


def _instance(row: Mapping[str, Any], names: Mapping[str, str], newest: Mapping[str, int], look: Picture | None) -> Picture:
    nics = row["nics"]
    return {
        "id": row["pk"], "name": row["name"], "state": str(row["state"]), "wanted": str(row["wanted"]), "kind": str(row["usage"]),
        "image": row["image__image__name"], "image_id": row["image__image_id"], "image_version": row["image__version"],
        "newest_version": max(newest.get(row["image__image_id"], 0), row["image__version"]),
        "persistence": str(row["persistence"]), "data_disk_bytes": row["data_disk_mib"] * MIB,
        "first_boot_offline": row["first_boot_offline"], "offline": row["offline"],
        "cpus": row["cpus"], "memory_bytes": row["memory_mib"] * MIB, "owner": row["owner__username"],
        "owner_group": row["group__path"], "cluster": row["cluster"] or None, "cluster_name": names.get(row["cluster"], ""),
        "host": row["node"] or None, "host_name": names.get(row["node"], ""),
        "nics": [{"mac": n.get("mac"), "ip": n.get("ip"), "ip6": _ip6(n), "network": n.get("network")} for n in nics],
        "forwards": [{"guest_port": f["guest_port"], "host": f["host"], "port": f["port"]} for n in nics for f in n.get("forwards") or ()],
        "display": {"protocol": "vnc", "port": row["display_port"], "url": f"/instances/{row['pk']}/screen/"},
        "accelerator": str(row["accelerator"]), "error": fault(row["error"]), "created_at": when(row["created_at"]),
        "changed_at": when(row["changed_at"]), "task": row["task"] or None, "queue": look, "expires_at": when(row["expiry__expires_at"] or 0),
    }


def _ip6(nic: Mapping[str, Any]) -> str:
    return subnets.ip6_of(nic["subnet6"], nic["mac"]) if nic.get("subnet6") else ""


def why(row: Instance) -> Picture:
    """Why an instance is where it is: the node it got, and the reason of each node it did not get."""
    return {"id": row.pk, "node": row.node or None, "why": {str(k): str(v) for k, v in row.why.items()}}


# tasks


def tasks(rows: Iterable[Task]) -> list[Picture]:
    """Pictures of many tasks, with one look at the board."""
    known = list(rows)
    prefetch_related_objects(known, "steps", "owner")
    prefetch_related_objects([t for t in known if t.kind == prefetches.KIND], "orders")
    open_ = [t for t in known if t.state not in TASK.final]
    hosts_ = [f"step:{t.pk}:{s.name}" for t in open_ if t.kind == prefetches.KIND for s in t.steps.all() if s.state == "running"]
    moving = board().read([f"task:{t.pk}" for t in open_] + hosts_)
    waiting = queue.looks(t.pk for t in known if t.state == TaskState.QUEUED)
    told = [_task(t, moving.get(f"task:{t.pk}"), waiting.get(t.pk)) for t in known]
    return [p | _prefetch(t, moving) if t.kind == prefetches.KIND else p for t, p in zip(known, told, strict=True)]


def _prefetch(row: Task, moving: Mapping[str, Mapping[str, Any]]) -> Picture:
    """What is otherwise of a task whose steps are hosts, each with bytes of its own."""
    order = image_uses.prefetch_of(row)
    total = sum(b.size for b in order.ref.blobs) if order else 0
    steps = [_step(s, {"bytes_total": total, "bytes_done": total if s.state == "done" else 0} | dict(moving.get(f"step:{row.pk}:{s.name}") or {}))
             for s in row.steps.all()]
    done = sum(s["bytes_done"] for s in steps) * 100 // (total * len(steps)) if total and steps else 0
    is_open = row.state not in TASK.final
    names = prefetches.lacking(row) if is_open else []
    return {
        "steps": steps, "progress": 100 if row.state == TaskState.DONE else min(done, 99),
        "prompt": f"the time passed; it is not yet on {', '.join(names)}" if names else "",
    }


def task(row: Task, progress: Mapping[str, Any] | None = None) -> Picture:
    """One task; ``progress`` is its picture on the board, looked up when left out."""
    return tasks([row])[0] if progress is None or row.kind == prefetches.KIND else _task(row, progress)


def _task(row: Task, progress: Mapping[str, Any] | None, look: Picture | None = None) -> Picture:
    open_ = row.state not in TASK.final
    moving = progress if open_ and progress and is_of_step(progress, row.phase) else {}
    phase = row.phase or str(moving.get("phase") or "")
    percent = min(int(moving.get("percent") or 0), 99)
    return {
        "id": row.pk, "tid": f"{own().id}:{row.receiver}:{row.subject}", "kind": row.kind, "state": str(row.state), "phase": phase,
        "progress": 100 if row.state == TaskState.DONE else max(row.progress, percent),
        "prompt": str(moving.get("prompt") or ""), "steps": _steps(row, moving), "error": fault(row.error),
        "subject": row.subject, "subject_name": row.subject_name, "owner": row.owner.username if row.owner else None, "queue": look,
        "created_at": when(row.created_at), "ended_at": when(row.ended_at), "deadline": when(row.deadline),
    }


def is_of_step(progress: Mapping[str, Any], step: str) -> bool:
    """Whether progress is of the step a task is at, and not of one that is over."""
    return not step or f"{step}-".startswith(f"{progress.get('phase')}-")


def _steps(row: Task, moving: Mapping[str, Any]) -> list[Picture]:
    phase = str(moving.get("phase") or "")
    made = [_step(s, moving if phase and s.state == "running" and is_of_step(moving, s.name) else {}) for s in row.steps.all()]
    # Progress may arrive after its step has ended; it is no step of its own beside those of a flow.
    if phase and not made:
        made.append(_step(TaskStep(name=str(moving["phase"]), state="running"), moving))
    if row.kind == PREPARE:
        # its last step boots nothing: there is a disk to be worked on
        made = [step | {"name": "clone"} if step["name"] == "boot" else step for step in made]
    return made


def _step(row: TaskStep, moving: Mapping[str, Any]) -> Picture:
    return {
        "name": row.name, "state": row.state, "host": row.host or None, "note": row.note, "started_at": when(row.started_at),
        "ended_at": when(row.ended_at), "bytes_done": int(moving.get("bytes_done") or 0),
        "bytes_total": int(moving.get("bytes_total") or 0),
    }


# hosts


def hosts(rows: Iterable[Host]) -> list[Picture]:
    """Pictures of many hosts, with one look at the board and one query for what their guests take."""
    known = list(rows)
    prefetch_related_objects(known, "group")
    facts = board().read([f"host:{h.pk}" for h in known])
    taken = _taken(h.pk for h in known if h.role == Role.NC)
    return [_host(h, facts.get(f"host:{h.pk}", {}), taken.get(h.pk)) for h in known]


def host(row: Host, facts: Mapping[str, Any] | None = None) -> Picture:
    """One host; ``facts`` is its picture on the board, looked up when left out.

    Among its facts: ``cpus`` and ``memory_bytes`` it offers to guests, ``cpus_used`` and ``memory_used_bytes`` taken of that,
    ``machine_*`` of the machine itself. ``last_heartbeat_age_s`` is None for a host that was never heard of.
    """
    return hosts([row])[0] if facts is None else _host(row, facts, _taken([row.pk]).get(row.pk))


def _taken(nodes: Iterable[str]) -> dict[str, tuple[int, int]]:
    """CPUs and MiB that guests hold, by node."""
    there = Instance.objects.filter(node__in=list(nodes)).exclude(state__in=[
        InstanceState.DEFINED, InstanceState.QUEUED, InstanceState.STOPPED, InstanceState.DELETED, InstanceState.FAILED,
    ])
    rows = there.order_by().values_list("node").annotate(Sum("cpus"), Sum("memory_mib"))
    return {node: (cpus, memory) for node, cpus, memory in rows}


def _host(row: Host, facts: Mapping[str, Any], taken: tuple[int, int] | None) -> Picture:
    heard = max(row.last_heard, float(facts.get("at") or 0))
    shown: Picture = {
        "version": row.version, "boot": row.boot, "address": row.address, "hypervisor": row.hypervisor,
        "accelerator": str(row.accelerator) if row.role == Role.NC else "", "accelerator_why": row.accelerator_why,
        "cpus": row.cpus, "memory_mib": row.memory_mib, "disk_mib": row.disk_mib, "speaks": row.speaks,
    }
    shown |= {f"machine_{k}" if k in shown else k: v for k, v in facts.items() if k not in _NOT_FACTS}
    if facts:
        shown["disk_used_mib"] = max(int(facts.get("disk_mib") or 0) - int(facts.get("disk_free_mib") or 0), 0)
    if row.role == Role.NC:
        shown["cpus_used"], shown["memory_used_mib"] = taken or (0, 0)
    elif facts:
        shown["memory_used_mib"] = max(int(facts.get("memory_mib") or 0) - int(facts.get("memory_free_mib") or 0), 0)
    return {
        "id": row.pk, "role": str(row.role), "name": row.name, "state": str(row.state), "boss": row.boss or None,
        "group": row.group.path,
        "last_heartbeat_age_s": round(max(clock.now() - heard, 0), 1) if heard else None,
        "last_heard_at": when(heard), "created_at": when(row.created_at), "facts": _in_bytes(shown),
    }


def _in_bytes(facts: Mapping[str, Any]) -> Picture:
    return {
        f"{name.removesuffix('_mib')}_bytes" if name.endswith("_mib") else name: int(value or 0) * MIB if name.endswith("_mib") else value
        for name, value in facts.items()
    }


# the rest


def event(row: Event) -> Picture:
    """One thing that happened; ``role`` is that of the host it happened on, the CLC's own when none is named."""
    return {
        "id": row.pk, "at": when(row.at), "noun": row.noun, "subject": row.subject, "what": row.what, "task": row.task or None,
        "host": row.host or None, "role": ids.role_of(row.host) if row.host else str(Role.CLC), "fields": row.fields,
    }


def account(row: Account) -> Picture:
    """One account."""
    return {
        "id": row.pk, "username": row.username, "display_name": row.display_name, "email": row.email, "service": row.is_service,
        "role": "superAdm" if row.is_admin else row.access_role_id, "group": row.group.path, "active": row.is_active,
        "language": row.language, "password_change": row.must_change_password, "created_at": clock.rfc3339(row.date_joined.timestamp()),
    }


def person(row: Account) -> Picture:
    """One account with how many instances it has, when it last signed in to the console (None: never), and how it signs in."""
    count = Instance.objects.filter(owner=row).exclude(state=InstanceState.DELETED).count()
    seen = clock.rfc3339(row.last_login.timestamp()) if row.last_login else None
    until = lock_out.until(row)
    return account(row) | {
        "instances": count, "last_login_at": seen, "locked_until": clock.rfc3339(until) if until else None, "second_step": second_step.is_on(row),
        "passkeys": passkeys.of(row).count(),
    }


def accounts(rows: Sequence[Account]) -> list[Picture]:
    """Many accounts."""
    known = list(rows)
    prefetch_related_objects(known, "group")
    return [account(r) for r in known]


# the whole cloud

_ORDER = (Health.OK, Health.WARN, Health.BAD)
_LATE_BEATS = 3
_LONG_WAIT_S = 60.0


def _part(name: str, health: Health, line: str) -> Picture:
    return {"name": name, "health": str(health), "line": line}


def status() -> Picture:
    """How the cloud is: ``health`` (ok, warn, bad), ``parts`` (name, health, line), ``hosts``; the worst part decides.

    ``simulation``: no machine really runs.

    Parts are broker, board, database, outbox, then one per role: what an operator must know of it, in one line.
    """
    try:
        rows = list(Host.objects.select_related("group").exclude(state=HostState.RETIRED))
        known = hosts(rows)
        parts = [*services(), _part("database", Health.OK, "answers"), _outbox(), *_letters(), *_ends(), *_roles(known)]
    except DatabaseError as e:
        known, parts = [], [*services(), _part("database", Health.BAD, f"does not answer: {type(e).__name__}")]
    worst = max((Health(p["health"]) for p in parts), key=_ORDER.index)
    return {"health": str(worst), "simulation": settings.EDUCLOUD.console.simulation, "parts": parts, "hosts": known}


def services() -> list[Picture]:
    """Broker and board as the process that uses them says: the relay."""
    alive = board().is_alive()
    facts = board().read([f"host:{own().id}"]).get(f"host:{own().id}") if alive else None
    board_part = _part("board", Health.OK if alive else Health.BAD, "answers" if alive else "memcached does not answer; load and progress are not shown")
    if not alive:
        return [_part("broker", Health.WARN, "not known while the board does not answer"), board_part]
    if facts is None or clock.now() - float(facts.get("at") or 0) > _LATE_BEATS * settings.EDUCLOUD.beat.every_s:
        return [_part("broker", Health.BAD, "clc-relay does not report"), board_part]
    said = str(facts.get("services", {}).get("broker", "does not answer"))
    good = said == "ok"
    return [_part("broker", Health.OK if good else Health.BAD, "answers" if good else f"{said}; orders wait and go out by themselves"), board_part]


def _outbox() -> Picture:
    count = outbox.waiting()
    oldest = Outbox.objects.order_by("id").first() if count else None
    if oldest is None:
        return _part("outbox", Health.OK, "no orders wait")
    age_s = max(clock.now() - oldest.at, 0)
    line = f"{counted(count, 'order')} in line, the first for {age_s:.0f} s" + (f": {oldest.why}" if oldest.why else "")
    return _part("outbox", Health.WARN if age_s > _LONG_WAIT_S else Health.OK, line)


def letters(rows: Sequence[Letter]) -> list[Picture]:
    """Dead letters with their story."""
    return [{
        "id": row.pk, "host": row.host, "created_at": clock.rfc3339(row.created_at), "queue": row.queue, "reason": row.reason, "times": row.times,
        "kind": row.kind, "task": row.task or None, "sender": row.sender, "to": row.to, "about": row.about,
        "sent_again_at": clock.rfc3339(row.sent_again_at) if row.sent_again_at else None,
    } for row in rows]


def _ends() -> list[Picture]:
    held = endings.held()
    if not held:
        return []
    return [_part("expiry", Health.WARN, f"{held.stops} to stop and {held.deletes} to delete wait for a word, more than a tenth of all at once: "
                                         "look at the clock, then educloud expiry let-go")]


def _letters() -> list[Picture]:
    count = dead.count()
    if not count:
        return []
    return [_part("dead letters", Health.WARN, f"{counted(count, 'message')} could not be handled: educloud letter list")]


_NEEDED = {
    Role.WALRUS: "none has joined: images cannot be uploaded or started",
    Role.CC: "none has joined: instances cannot be placed",
    Role.NC: "none has joined: there is no room for instances",
}


_SLOW = {
    Accelerator.TCG: "no hardware acceleration, guests are emulated", Accelerator.UNPROVED: "acceleration not proved yet",
    Accelerator.SIMULATED: "a simulation, no real guests",
}


_LACKS = {
    "hypervisor": "the hypervisor does not answer",
    "supervisor": "nobody starts it again if it ends, for its supervisor is gone: run `make up` there",
}


_TELLS = ("objects",)
"""Services of which a host itself says in words what is wrong."""


def _files(sha256s: Sequence[str]) -> list[str]:
    """The versions of images these files are of, as image:version; a file nobody knows by its digest."""
    rows = ImageVersion.objects.filter(state=ImageState.PUBLISHED).select_related("image").order_by("image__name", "version")
    of = [(f"{row.image.name}:{row.version}", {b["sha256"] for b in row.blobs} & set(sha256s)) for row in rows]
    known = set[str]().union(*(files for _, files in of))
    return [*(name for name, files in of if files), *(s[:12] for s in sha256s if s not in known)]


def _roles(known: Sequence[Picture]) -> list[Picture]:
    parts = []
    for role in Role:
        mine = [h for h in known if h["role"] == role]
        if mine or role in _NEEDED:
            parts.append(_role(role, mine))
    return parts


def _role(role: Role, mine: Sequence[Picture]) -> Picture:
    by = {s: [h["name"] for h in mine if h["state"] == s] for s in HostState}
    there = len(mine) - len(by[HostState.NEW])
    notes = [f"{', '.join(by[s][:5])}: {words}" for s, words in (
        (HostState.SILENT, "no heartbeat"), (HostState.DOWN, "not started yet"), (HostState.DRAINING, "draining"),
        (HostState.NEW, "waits for approval"),
    ) if by[s]]
    working = len(by[HostState.UP]) + len(by[HostState.DRAINING])
    if not there:
        notes.insert(0, _NEEDED.get(role, "none has joined"))
    lacks = {
        words: names for service, words in _LACKS.items()
        if (names := [h["name"] for h in mine if h["state"] != HostState.SILENT and (h["facts"].get("services") or {}).get(service, "ok") != "ok"])
    }
    for service in _TELLS:
        for h in mine:
            if h["state"] != HostState.SILENT and (words := (h["facts"].get("services") or {}).get(service, "ok")) != "ok":
                lacks[words] = [h["name"]]
    if spoiled := [s for h in mine for s in h["facts"].get("damaged") or ()]:
        lacks[f"blocks of {', '.join(_files(spoiled)[:5])} are damaged: bring the same files in again"] = [h["name"] for h in mine]
    notes += [f"{', '.join(names[:5])}: {words}" for words, names in lacks.items()]
    refused = sum(sum((h["facts"].get("refused") or {}).values()) for h in mine)
    if refused:
        notes.append(f"{counted(refused, 'message')} refused at the door")
    for accelerator, words in _SLOW.items() if role == Role.NC else ():
        if slow := [h["name"] for h in mine if h["facts"].get("accelerator") == accelerator]:
            notes.append(f"{', '.join(slow[:5])}: {words}")
    absent = by[HostState.SILENT] or by[HostState.DOWN]
    health = Health.BAD if not working and (there or role in _NEEDED) else Health.WARN if absent or by[HostState.NEW] or refused or lacks else Health.OK
    return _part(str(role), health, "; ".join([f"{working} of {there} up", *notes]))
