"""Pictures of workspaces, for API and pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clc.services import pictures
from luhyadb.models import Task, Workspace

Picture = dict[str, Any]


def workspaces(rows: Iterable[Workspace]) -> list[Picture]:
    """Pictures of many."""
    return [_workspace(row) for row in rows]


def workspace(row: Workspace) -> Picture:
    """One workspace; ``base`` is what it began from, ``version`` what it becomes or became."""
    return _workspace(row)


def _workspace(row: Workspace) -> Picture:
    task = Task.objects.filter(pk=row.task).first()
    return {
        "id": row.pk, "state": str(row.state), "image": row.name, "is_new": row.is_new, "owner": row.owner.username,
        "base": {"image": row.base.image.name, "version": row.base.version},
        "version": row.version.version if row.version else None, "note": row.note, "instance": pictures.instance(row.instance),
        "task": pictures.task(task) if task else None, "error": row.error,
        "created_at": pictures.when(row.created_at), "changed_at": pictures.when(row.changed_at),
    }
