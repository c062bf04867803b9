"""Images that are built outside the cloud: each is a task, of which its builder tells how far it is and how it ended."""

from __future__ import annotations

from clc.services import events, images, tasks
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import TaskState
from luhyaapi.errors import Refused
from luhyaapi.machines import TASK
from luhyadb import memory, scope
from luhyadb.models import Account, Task

SILENT_S = 600.0
"""A builder of whom there was no news for so long is lost."""


def begin(account: Account, name: str) -> Task:
    """An image of that name is being built from now on. Raises Refused(forbidden | invalid)."""
    scope.require_admin(account)
    images.check_name(name)
    with memory.atomic():
        task = tasks.open_task(images.BUILD, account, "", name, SILENT_S)
        return tasks.advance(task, "start")


def report(account: Account, ident: str, phase: str, percent: int) -> Task:
    """How far it is; the answer says whether it shall go on: its state is ``running``. Raises Refused(not_found)."""
    with memory.atomic():
        task = _mine(account, ident)
        if task.state == TaskState.LOST:
            task = tasks.advance(task, "start")
        if task.state != TaskState.RUNNING:
            return task
        is_new = task.phase != phase[:40]
        task.phase, task.progress, task.deadline = phase[:40], max(0, min(percent, 99)), clock.now() + SILENT_S
        task.save(update_fields=["phase", "progress", "deadline"])
        if is_new:
            events.record("task", task.id, "task running", owner=account, task=task.id)
    return task


def end(account: Account, ident: str, what: str = "", why: str = "") -> Task:
    """It is over; ``what`` and ``why`` say why it came to nothing. Again it changes nothing. Raises Refused(not_found)."""
    with memory.atomic():
        task = _mine(account, ident)
        if task.state in TASK.final:
            return task
        if not what:
            return tasks.advance(task, "finish")
        if task.state == TaskState.CANCELLING:
            return tasks.advance(task, "end_cancelled", error=Refused("cancelled", "It was cancelled").wire())
        hint = "Build it again: `educloud image build-demo`."
        return tasks.advance(task, "fail", error={"code": "program", "what": what[:300], "why": why[:1000], "hint": hint})


def _mine(account: Account, ident: str) -> Task:
    scope.require_admin(account)
    return scope.one(account, Task, pk=ident, kind=images.BUILD)
