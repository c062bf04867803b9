"""Pictures as the templates want them: words of the vocabulary in place of texts, and the work that is under way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from clc.services import (
    access_pictures,
    comparisons,
    image_pictures,
    image_properties,
    network_pictures,
    pictures,
    rules,
)
from clc.services.sentences import said
from luhyaapi import ids
from luhyaapi.contracts.vocabulary import (
    Accelerator,
    AddressState,
    Architecture,
    HostState,
    ImageState,
    InstanceState,
    LeaseState,
    LinkState,
    NetworkMode,
    Persistence,
    Protocol,
    Role,
    TaskState,
    Usage,
    Verb,
    Word,
    WorkspaceState,
)
from luhyaapi.errors import CODES
from luhyaapi.machines import TASK, WORKSPACE
from luhyadb import scope
from luhyadb.models import Account, ElasticAddress, Host, Image, Instance, Network, SecurityGroup, Task, Workspace

Shown = dict[str, Any]
_OURS = re.compile(r"version \d+ again")
"""The one note nobody wrote."""
_STEP_OF = {TaskState.DONE: "done", TaskState.FAILED: "failed", TaskState.CANCELLED: "undone"}


def _worded(picture: Shown, **kinds: type[Word]) -> Shown:
    return picture | {name: kind(picture[name]) for name, kind in kinds.items() if picture.get(name)}


def instances(rows: Iterable[Instance], by: Account | None = None) -> list[Shown]:
    """Instances with ``work`` where a task moves them, and with what ``by`` may do with each."""
    rows = list(rows)
    shown = [
        _worded(p, state=InstanceState, kind=Usage, persistence=Persistence, accelerator=Accelerator) | {"image_name": p["image"]}
        for p in pictures.instances(rows)
    ]
    working = _work(p["task"] for p in shown if p["state"] not in (InstanceState.RUNNING, InstanceState.STOPPED))
    return _permitted([p | {"work": working.get(p["task"])} for p in shown], rows, by)


def _permitted(shown: list[Shown], rows: Sequence[Image | Instance], by: Account | None) -> list[Shown]:
    """Pictures with ``may``: what somebody may do with each, by verb."""
    if by is None:
        return shown
    found = scope.verbs_on(by, rows)
    return [p | {"may": {str(verb): verb in found[p["id"]] for verb in Verb}} for p in shown]


def networks(rows: Iterable[Network]) -> list[Shown]:
    """Networks."""
    return [_worded(p, mode=NetworkMode) for p in network_pictures.networks(rows)]


def own_networks(rows: Iterable[Host]) -> list[Shown]:
    """The networks that clusters have by their settings."""
    return [_worded(p, mode=NetworkMode) for p in network_pictures.own(rows)]


def leases(found: Iterable[Shown]) -> list[Shown]:
    """What of a network is not free."""
    return [_worded(each, state=LeaseState) for each in found]


def reached(row: Instance) -> Shown:
    """What leads to an instance; rules as lines."""
    found = access_pictures.reached(row)
    return found | {
        "forwards": [_worded(f, protocol=Protocol) for f in found["forwards"]], "rules": [rules.line(r) for r in found["rules"]],
        "groups": [_lines(g) for g in found["groups"]], "group_ids": [g["id"] for g in found["groups"]],
    }


def groups(rows: Iterable[SecurityGroup]) -> list[Shown]:
    """Security groups, their rules as lines."""
    return [_lines(p) for p in access_pictures.groups(rows)]


def _lines(picture: Shown) -> Shown:
    return picture | {"rules": [rules.line(r) for r in picture["rules"]]}


def addresses(rows: Iterable[ElasticAddress]) -> list[Shown]:
    """Public addresses."""
    return [_worded(p, state=AddressState) for p in access_pictures.elastics(rows)]


def network_check(picture: Shown) -> Shown:
    """How the links of a machine's network were found."""
    shown = [_worded(each, state=LinkState) for each in picture["links"]]
    return picture | {"links": shown, "is_whole": all(each["state"] is not LinkState.UNKNOWN for each in shown)}


def instance(row: Instance, by: Account | None = None) -> Shown:
    """One instance."""
    return instances([row], by)[0]


def _work(task_ids: Iterable[str | None]) -> dict[str, Shown]:
    known = {t for t in task_ids if t}
    rows = Task.objects.filter(pk__in=known).exclude(state__in=TASK.final) if known else ()
    return {t["id"]: t for t in tasks(rows)}


def tasks(rows: Iterable[Task]) -> list[Shown]:
    """Tasks with the bytes of their running step."""
    return [_task(p) for p in pictures.tasks(rows)]


def task(row: Task) -> Shown:
    """One task, with the address of what it is about."""
    return tasks([row])[0]


def _task(picture: Shown) -> Shown:
    picture = _as_it_goes(picture)
    running: Shown = next((s for s in picture["steps"] if s["state"] == "running"), {})
    began = [s["started_at"] for s in picture["steps"] if s["started_at"]]
    return _worded(picture, state=TaskState) | {
        "kind": picture["kind"].replace("/", "."), "started_at": min(began, default=picture["created_at"]),
        "bytes_done": running.get("bytes_done"), "bytes_total": running.get("bytes_total"),
        "subject_url": _subject_url(picture["subject"]) + ("#differences" if picture["kind"] == comparisons.KIND else ""),
    }


def _as_it_goes(picture: Shown) -> Shown:
    """A task whose step goes on is running, told or not; one that told no steps had that of its phase."""
    steps = picture["steps"]
    if picture["state"] == TaskState.QUEUED and any(s["state"] == "running" for s in steps):
        return picture | {"state": str(TaskState.RUNNING)}
    if steps or not picture["phase"] or picture["state"] not in _STEP_OF:
        return picture
    step = {"name": picture["phase"], "state": _STEP_OF[picture["state"]], "host": None, "note": "", "bytes_done": 0, "bytes_total": 0}
    return picture | {"steps": [step | {"started_at": picture["created_at"], "ended_at": picture["ended_at"]}]}


def _subject_url(subject: str) -> str:
    for prefix, name in (("ins", "instance"), ("img", "image"), ("wks", "workspace"), ("tsk", "task")):
        if ids.is_id(subject, prefix):
            return str(reverse(name, args=[subject]))
    return ""


def images(rows: Iterable[Image], by: Account | None = None) -> list[Shown]:
    """Images; ``versions`` are those that passed their check, ``error`` says why the newest did not; with what ``by`` may do with each."""
    rows = list(rows)
    shown = [_image(p) for p in image_pictures.images(rows)]
    working = _work(p["task"] for p in shown)
    return _permitted([p | {"work": working.get(p["task"])} for p in shown], rows, by)


def _image(picture: Shown) -> Shown:
    every = [_worded(v, state=ImageState) | {"note": said(v["note"]) if _OURS.fullmatch(v["note"]) else v["note"]} for v in picture["versions"]]
    last = every[-1] if every else {}
    error = None
    if last.get("state") == ImageState.FAILED:
        what, _, why = last["why"].partition(": ")
        error = {"code": "image_format", "what": what, "why": why, "hint": CODES["image_format"].hint}
    hosts = {c["host"]: c for v in every for c in v["cached_on"]}
    where = [h | {"versions": [next((c for c in v["cached_on"] if c["host"] == host), None) for v in every]} for host, h in hosts.items()]
    published = [v for v in every if v["state"] == ImageState.PUBLISHED]
    building = last.get("state") == ImageState.BUILDING
    return _worded(picture, state=ImageState, usage=Usage, architecture=Architecture) | {
        "versions": published, "every_version": every, "where": where, "error": error, "task": last.get("task") if building else None,
    }


def image(row: Image, by: Account | None = None) -> Shown:
    """One image, with every version once one has passed."""
    shown = images([row], by)[0]
    published = shown["versions"]
    every = [v | {"is_newest": v["version"] == published[-1]["version"]} for v in shown["every_version"]] if published else []
    hardware = published[-1]["hardware"] if published else {}
    special = {name: value for name, value in hardware.items() if value != image_properties.CHOICES[name][0]}
    return shown | {"versions": every, "published_count": len(published), "hardware": hardware, "special": special}


def used(row: Image) -> dict[int, list[Shown]]:
    """Who needs which version of an image, each with the address of its page."""
    return {v["version"]: [u | {"url": _subject_url(u["id"]) if u["kind"] != "draft" else ""} for u in v["used_by"]] for v in image_pictures.uses(row)}


def rule(row: Image, keep: int | None) -> Shown:
    """Which versions of an image go by its rule, or would with another number to ``keep``."""
    found = image_pictures.retention(row, keep)
    return found | {"asked": keep is not None, "going": ", ".join(f"v{v['version']}" for v in found["versions"] if v["goes"])}


def open_workspaces(rows: QuerySet[Workspace]) -> list[Workspace]:
    """Those that are not over, each with its ``word``."""
    found = list(rows.exclude(state__in=WORKSPACE.final).select_related("owner"))
    for each in found:
        each.word = WorkspaceState(each.state)
    return found


def hosts(rows: Iterable[Host]) -> list[Shown]:
    """Hosts with what is used of them: by guests on a node, by the machine itself elsewhere."""
    return [_host(p) for p in pictures.hosts(rows)]


def _host(picture: Shown) -> Shown:
    facts = picture["facts"]
    own = {name: facts[f"machine_{name}"] for name in ("cpus", "memory_bytes", "disk_bytes") if f"machine_{name}" in facts}
    if picture["role"] == Role.NC:
        own = {name: value for name, value in own.items() if name == "disk_bytes"}
    return _worded(picture, state=HostState, role=Role) | {"facts": _worded(facts, accelerator=Accelerator) | own}


def host(row: Host) -> Shown:
    """One host."""
    return hosts([row])[0]
