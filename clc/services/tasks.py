"""Open, advance and cancel tasks: the only writer of Task, TaskOrder and TaskStep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from clc.services import events, queue
from clc.services.own import own
from luhyaapi import clock, ids
from luhyaapi.command.send import Order
from luhyaapi.contracts.base import Command
from luhyaapi.contracts.commands import TaskCancel
from luhyaapi.contracts.reports import Outcome, TaskSteps
from luhyaapi.contracts.specs import StepFacts
from luhyaapi.contracts.vocabulary import TaskState, Verb
from luhyaapi.errors import Refused
from luhyaapi.journal import KEEP_S
from luhyaapi.machines import TASK
from luhyadb import memory, outbox, scope
from luhyadb.models import Account, Host, Instance, Task, TaskOrder, TaskStep

_SLACK_S = 60.0
_PAST_S = 3600.0
"""So long ago an order ended that nobody shall begin any more: further than clocks of two hosts are apart."""
PREPARE, SUBMIT = "workspace/prepare", "workspace/submit"
"""Kinds of the tasks of a workspace. A submit gives two orders, one after the other; its service says when it is done."""


def open_task(kind: str, owner: Account | None, subject: str, subject_name: str, timeout_s: float) -> Task:
    """A new task, queued. Call it in the transaction of the change it stands for."""
    now = clock.now()
    task = Task.objects.create(
        id=ids.new("tsk"), kind=kind, owner=owner, subject=subject, subject_name=subject_name,
        deadline=now + timeout_s + _SLACK_S, created_at=now,
    )
    events.record("task", task.id, "task opened", owner=owner, task=task.id, kind=kind, subject=subject)
    return task


def send(task: Task, command: Command, to: Host, *, gen: int = 0, fence: int = 0, attempt: int = 0, phase: str = "") -> None:
    """Give the one order of a task to a child, in the open transaction; its time begins now."""
    task.deadline = clock.now() + command.timeout_s + _SLACK_S
    order = outbox.send(
        command, to.id, sender=own().id, task=task.id, attempt=attempt, deadline=task.deadline - _SLACK_S, gen=gen, fence=fence, speaks=to.speaks,
    )
    task.command, task.order, task.receiver = order.id, order.model_dump_json(), to.id
    task.phase = phase or task.phase
    task.save(update_fields=["command", "order", "receiver", "deadline", "phase"])


def send_each(task: Task, commands: Mapping[Host, Command], until: float) -> None:
    """Give several clusters their part of a task, each an order of its own, until a moment (seconds since 1970)."""
    Task.objects.filter(pk=task.pk).update(deadline=until + _SLACK_S)
    for to, command in commands.items():
        # its receiver names its own steps by hosts
        order = outbox.send(command, to.pk, sender=own().id, task=task.pk, step=f"at-{to.pk}", deadline=until, speaks=to.speaks)
        TaskOrder.objects.create(command=order.id, task=task, order=order.model_dump_json(), receiver=to.pk)


def foresee(task: Task, hosts: Iterable[str]) -> None:
    """The steps a task will have, one for each host."""
    TaskStep.objects.bulk_create(TaskStep(task=task, name=host, host=host, state="waiting") for host in hosts)


def receivers(**by: str) -> set[str]:
    """Who was given the order, or the orders, of the tasks (``pk``) or of the order (``command``) that are asked for."""
    found = set(Task.objects.filter(**by).values_list("receiver", flat=True)) - {""}
    parts = {"task" if name == "pk" else name: value for name, value in by.items()}
    return found or set(TaskOrder.objects.filter(**parts).values_list("receiver", flat=True))


def wait(task: Task, until: float, why: str) -> bool:
    """Its order was refused and is given again later, at the latest at ``until``; told the first time. False: it was cancelled at the same moment."""
    is_first = task.command.endswith(".0")
    TASK.advance(task.state, "wait")
    changes = {"state": TaskState.QUEUED, "command": "", "order": "", "receiver": "", "phase": "", "deadline": until + _SLACK_S}
    if not Task.objects.filter(pk=task.pk, state=task.state).update(**changes):
        task.refresh_from_db()
        return False
    if is_first:
        events.record("task", task.pk, "waits for room", owner_id=task.owner_id, task=task.pk, why=why)
    return True


def advance(task: Task, event: str, *, what: str = "", **changes: Any) -> Task:
    """Move a task by its life cycle, by compare and set. Raises Refused(state)."""
    before = task.state
    new = TASK.advance(before, event)
    if new in TASK.final:
        changes.setdefault("ended_at", clock.now())
    if new == TaskState.DONE:
        changes["progress"] = 100
    moved = Task.objects.filter(pk=task.pk, state=task.state).update(state=new, **changes)
    task.refresh_from_db()
    if moved and new in TASK.final:
        _close_steps(task)
    if moved:
        events.record("task", task.id, what or f"task {new}", owner_id=task.owner_id, task=task.id, before={"state": before}, after={"state": new},
                      **({"error": task.error} if task.error else {}))
    return task


_STEP_OPEN = ("waiting", "running")
_LEFT_OPEN = {TaskState.DONE: "done", TaskState.FAILED: "failed", TaskState.CANCELLED: "undone"}


def _close_steps(task: Task) -> None:
    """How they ended is told apart from the Outcome, and may come later or never."""
    left = TaskStep.objects.filter(task=task, state__in=_STEP_OPEN)
    left.update(state=_LEFT_OPEN[TaskState(task.state)], ended_at=task.ended_at)


def ended(report: Outcome) -> Task | None:
    """An Outcome of a task's own order; None when it ends nothing of ours or was ended before."""
    task = Task.objects.filter(command=report.command).first()
    fault = report.error.model_dump() if report.error else None
    if task is None:
        task, fault = _part_ended(report.command, fault)
    if task is None or task.state in TASK.final:
        return None
    if fault is None:
        if task.kind == SUBMIT:
            return task
        return advance(task, "finish")
    return advance(task, "end_cancelled" if fault["code"] == "cancelled" else "fail", error=fault)


def _part_ended(command: str, fault: dict[str, Any] | None) -> tuple[Task | None, dict[str, Any] | None]:
    """One of several orders ended: the task, once it was the last one, and what they all came to."""
    part = TaskOrder.objects.select_for_update().filter(pk=command, ended_at=0).first()
    if part is None:
        return None, None
    part.error, part.ended_at = fault, clock.now()
    part.save()
    task = Task.objects.select_for_update().get(pk=part.task_id)
    parts = list(TaskOrder.objects.filter(task=task).order_by("pk"))
    if not all(each.ended_at for each in parts):
        return None, None
    faults = [each.error for each in parts if each.error]
    if not faults:
        return task, None
    return task, {**faults[0], "why": "; ".join(dict.fromkeys(each["why"] for each in faults if each["why"]))}


def steps(report: TaskSteps) -> None:
    """Steps began or ended; what is known already is not told again."""
    task = Task.objects.filter(pk=report.task).first()
    if task is None or not report.steps:
        return
    if task.state in (TaskState.QUEUED, TaskState.LOST) and TASK.allows(task.state, "start"):
        advance(task, "start")
    known = {row.name: row for row in TaskStep.objects.filter(task=task)}
    for one in report.steps:
        if task.state in TASK.final and one.state in _STEP_OPEN:
            continue  # it was said before its end
        row = known.get(one.step[:40]) or TaskStep(task=task, name=one.step[:40])
        if _is_news(row, one):
            row.save()
            note: dict[str, Any] = {"note": one.note} if one.note else {}
            events.record("task", task.id, f"step {row.name} {row.state}", owner_id=task.owner_id, task=task.id, host=row.host, **note)
    running = [one for one in report.steps if one.state == "running"]
    newest = (running or sorted(report.steps, key=lambda one: one.ended_at))[-1].step[:40]
    Task.objects.filter(pk=task.pk).exclude(phase=newest).update(phase=newest)


def _is_news(row: TaskStep, told: StepFacts) -> bool:
    """Whether a step stands otherwise than was known; the row says it then."""
    before = (row.state, row.host, row.note, row.started_at, row.ended_at)
    row.state, row.host, row.note = told.state[:16], told.host[:20], told.note[:2000]
    row.started_at, row.ended_at = told.started_at, told.ended_at
    return before != (row.state, row.host, row.note, row.started_at, row.ended_at)


@memory.whole
def cancel(account: Account, task_id: str) -> Task:
    """Ask for a task to be undone; its own Outcome decides how it ended. Raises Refused(not_found | state)."""
    return withdraw(scope.one(account, Task, Verb.EXECUTE, pk=task_id))


def withdraw(task: Task) -> Task:
    """As :func:`cancel`, for whoever was asked before. In a transaction of the caller's."""
    while not queue.leave(task.pk):
        before = task.state
        task = advance(task, "cancel", what="cancel asked")
        if task.state == TaskState.CANCELLING:
            if before != TaskState.CANCELLING:
                _tell_cancel(task)
            return task
        # it came back into the queue, or ended, in this very moment
    from clc.services import instances

    return instances.gave_up(task, Refused("cancelled", "It was cancelled"))


def hand_over(of: Account, to: Account) -> None:
    """What is under way for somebody goes on for somebody else. In a transaction."""
    Task.objects.filter(owner=of).exclude(state__in=TASK.final).update(owner=to)


def is_open(task: str) -> bool:
    """Whether a task's Outcome may still come."""
    return Task.objects.filter(pk=task).exclude(state__in=[*TASK.final, TaskState.LOST]).exists()


def lose_overdue() -> int:
    """Tasks without an outcome after their deadline are lost, which is not final; how many."""
    lost = 0
    for task in Task.objects.filter(state__in=[TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELLING], deadline__lt=clock.now()):
        with memory.atomic():
            advance(task, "lose", error={
                "code": "timeout", "what": "No news before the deadline", "why": f"the last step was {task.phase or 'none'}",
                "hint": "Look at `educloud status`; if the host comes back the task goes on.",
            })
        lost += 1
    return lost


def say_again(patience_s: float) -> int:
    """Give an order again that has no Outcome yet, under the same id; the receiver does it once and says how it ended.

    Of a lost task too, as long as its receiver remembers: past its deadline nobody begins it any more, but its end is told.
    """
    said = 0
    now = clock.now()
    unended = [TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELLING, TaskState.LOST]
    for task in Task.objects.filter(state__in=unended, created_at__gt=now - KEEP_S):
        # one that will be opened only later was opened before our clock was set back
        if abs(now - task.created_at) > 1.5 * patience_s:
            said += _again(task)
    return said


def _again(task: Task) -> int:
    open_ = [(task.command, task.order)] if task.order else list(task.orders.filter(ended_at=0).values_list("command", "order"))
    unsaid = [text for command, text in open_ if not outbox.is_waiting(command)]
    if not unsaid:
        return 0
    with memory.atomic():
        for text in unsaid:
            outbox.put(_as_known_now(Order.model_validate_json(text)))
        if task.state == TaskState.CANCELLING:
            _tell_cancel(task)
    return len(unsaid)


def _as_known_now(order: Order) -> Order:
    """The same order, with the place that its instance has by now: its receiver may have forgotten that it gave it one.

    Where a newer order came to its end meanwhile, it is said past its deadline: nobody begins it any more, also who forgot the newer one.
    """
    row = Instance.objects.filter(pk=order.subject).first() if order.subject else None
    if row is None:
        return order
    if 0 < order.gen < row.gen and not is_open(row.task):
        order = order.model_copy(update={"deadline": min(order.deadline, clock.now() - _PAST_S)})
    body = json.loads(order.body)
    if not row.node or "node" not in body:
        return order
    return order.model_copy(update={"body": json.dumps(body | {"node": row.node}), "fence": row.fence})


def _tell_cancel(task: Task) -> None:
    for receiver in sorted(receivers(pk=task.pk)):
        outbox.send(TaskCancel(target=task.pk), receiver, sender=own().id, task=task.pk, step="cancel")
