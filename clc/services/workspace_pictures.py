"""Pictures of workspaces, for API and pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import prefetch_related_objects

from clc.services import pictures
from luhyadb.models import Task, Workspace

Picture = dict[str, Any]


def workspaces(rows: Iterable[Workspace]) -> list[Picture]:
    """Pictures of many, with one look at their instances and one at their tasks."""
    known = list(rows)
    prefetch_related_objects(known, "owner", "base__image", "version", "instance__owner", "instance__image__image")
    machines = {p["id"]: p for p in pictures.instances([row.instance for row in known])}
    tasks = {p["id"]: p for p in pictures.tasks(Task.objects.filter(pk__in=[row.task for row in known]))}
    return [_workspace(row, machines[row.instance_id], tasks.get(row.task)) for row in known]


def workspace(row: Workspace) -> Picture:
    """One workspace; ``base`` is what it began from, ``version`` what it becomes or became."""
    return workspaces([row])[0]


def _workspace(row: Workspace, machine: Picture, task: Picture | None) -> Picture:
    return {
        "id": row.pk, "state": str(row.state), "image": row.name, "is_new": row.is_new, "owner": row.owner.username,
        "base": {"image": row.base.image.name, "version": row.base.version},
        "version": row.version.version if row.version else None, "note": row.note, "instance": machine,
        "task": task, "error": row.error,
        "created_at": pictures.when(row.created_at), "changed_at": pictures.when(row.changed_at),
    }
