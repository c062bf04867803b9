"""Waiting for tasks of the cloud: progress on stderr, a deadline, and Ctrl-C that only detaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from deploy.cli import api, output
from deploy.cli.session import Session
from luhyaapi import clock
from luhyaapi.errors import Failed, Refused, Unavailable

PAUSE_S = 0.5
PATIENCE_S = 30.0
FINAL = frozenset({"done", "failed", "cancelled"})
DETACHED_EXIT = 130

Task = dict[str, Any]


def id_of(thing: dict[str, Any]) -> str:
    """The id of the task that ``thing`` (an instance or a task itself) is about. Raises Refused(state) when there is none."""
    task = thing.get("task")
    if isinstance(task, dict):
        task = task.get("id")
    if not task and str(thing.get("id", "")).startswith("tsk-"):
        task = thing["id"]
    if not task:
        raise Refused("state", f"{thing.get('id', 'It')} has no task to wait for")
    return str(task)


def fetch(session: Session, task: str) -> Task:
    """The task as the cloud sees it now."""
    found: Task = session.api.get(api.path("tasks", task))
    return found


@contextmanager
def detaching(session: Session, tasks: list[str]) -> Iterator[None]:
    """Turn Ctrl-C into leaving: what runs in the cloud goes on, and how to look again is said."""
    try:
        yield
    except KeyboardInterrupt:
        output.note("")
        output.note("Detached. The cloud goes on with it; look again with:")
        for task in tasks:
            output.note(f"  educloud task watch {task}")
        if session.json:
            output.document({"detached": True, "tasks": tasks})
        raise typer.Exit(DETACHED_EXIT) from None


class Deadline:
    """How long a call may wait. ``timeout_s`` 0 or less: for ever."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._until = clock.monotonic() + timeout_s if timeout_s > 0 else None

    def pause(self, what: str, task: str) -> None:
        """Sleep until the next look. Raises Failed(timeout) when the time is over."""
        if self._until is not None and clock.monotonic() >= self._until:
            raise Failed(
                "timeout", f"{what} was not done in {self._timeout_s:g} s", "the cloud goes on with it",
                task=task, hint=f"Look again: `educloud task watch {task}`, or stop it: `educloud task cancel {task}`.",
            )  # fmt: skip
        clock.sleep(PAUSE_S)


class _Patience:
    """Lets a watcher live through a restart of the cloud's web process."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._since: float | None = None

    def look(self, task: str) -> Task | None:
        try:
            found = fetch(self._session, task)
        except Unavailable:
            first = self._since is None
            self._since = clock.monotonic() if self._since is None else self._since
            if clock.monotonic() - self._since > PATIENCE_S:
                raise
            if first:
                output.note("The cloud does not answer; waiting for it.")
            return None
        self._since = None
        return found


def until_final(session: Session, tasks: list[str], deadline: Deadline) -> list[Task]:
    """Wait until each task has ended, showing progress; the tasks as they ended, in the same order.

    Raises Failed(timeout), Unreachable after ``PATIENCE_S`` without an answer, typer.Exit on Ctrl-C.
    """
    ended: dict[str, Task] = {}
    said: dict[str, str] = {}
    patience = _Patience(session)
    with detaching(session, tasks), output.Bars() as bars:
        while True:
            for task in (t for t in tasks if t not in ended):
                found = patience.look(task)
                if found is None:
                    break
                _draw(bars, found, many=len(tasks) > 1)
                if (line := queue_line(found)) and said.get("queue") != (why := found["queue"]["what"]):
                    output.note(f"  {task} waits: {line}")
                    said["queue"] = why
                if (prompt := str(found.get("prompt") or "")) and said.get(task) != prompt:
                    output.note(f"  {prompt}")
                    said[task] = prompt
                if found["state"] in FINAL:
                    ended[task] = found
            left = [t for t in tasks if t not in ended]
            if not left:
                return [ended[t] for t in tasks]
            deadline.pause(f"The task {left[0]}", left[0])


def queue_line(thing: dict[str, Any]) -> str:
    """Where a task or an instance stands in the queue, and why; an empty text when it does not wait."""
    found = thing.get("queue")
    return f"place {found['place']} of {found['of']}: {found['what']}" if found else ""


def _draw(bars: output.Bars, task: Task, *, many: bool) -> None:
    if found := task.get("queue"):
        bars.show(f"{task['id']} place {found['place']} of {found['of']}", 0, 100, task["state"])
        return
    if many or not task.get("steps"):
        bars.show(f"{task['id']} {task.get('phase') or ''}".strip(), float(task.get("progress") or 0), 100, task["state"])
        return
    for step in task["steps"]:
        state = str(step.get("state") or "")
        if state in {"", "queued", "waiting"}:
            continue
        total = float(step.get("bytes_total") or 0) or 1.0
        done = total if state == "done" else float(step.get("bytes_done") or 0)
        bars.show(str(step.get("name")), min(done, total), total, state)


def finished(session: Session, task: str, timeout_s: float) -> Task:
    """Wait for one task; the task when it is done. Raises its error when it ended otherwise."""
    (ended,) = until_final(session, [task], Deadline(timeout_s))
    if ended["state"] != "done":
        raise api.task_error(ended)
    return ended


def settle(
    look: Callable[[], dict[str, Any]], good: Callable[[dict[str, Any]], bool], deadline: Deadline, *, task: str, patience_s: float
) -> tuple[dict[str, Any], bool]:
    """Look until ``good``, at most ``patience_s``; what was seen last, and whether it is good."""
    until = clock.monotonic() + patience_s
    while True:
        seen = look()
        if good(seen) or clock.monotonic() >= until:
            return seen, good(seen)
        deadline.pause(str(seen.get("id", "It")), task)
