"""How a task's own order ended, to whom it belongs."""

from __future__ import annotations

from clc.services import admission, comparisons, images, instance_reports, tasks, workspaces
from luhyaapi.contracts.reports import Outcome


def heard(report: Outcome) -> None:
    """An order ended, or its run has to wait. In a transaction of the caller's."""
    if admission.put_back(report):
        return
    task = tasks.ended(report)
    if task is None:
        return
    if task.kind in (tasks.PREPARE, tasks.SUBMIT):
        workspaces.ended(task, report)
    elif task.kind == comparisons.KIND:
        comparisons.ended(task, report)
    elif task.kind.startswith("image/"):
        images.ended(task, report)
    else:
        instance_reports.ended(task, report)
