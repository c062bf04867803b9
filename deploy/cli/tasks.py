"""`educloud task`: what the cloud is doing, step by step."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, output, sizes, waiting
from deploy.cli.session import Session, noun, verb

app = noun("task")
TaskName = Annotated[str, typer.Argument(metavar="TID", help="The task's id, tsk-xxxxxxxx.")]


def show_task(session: Session, task: dict[str, Any]) -> None:
    """Print one task."""
    if session.json:
        output.document(task)
        return
    shown = {k: v for k, v in task.items() if k not in {"steps", "error", "queue"}}
    if line := waiting.queue_line(task):
        shown["queue"] = line
    output.fields(shown, ("id", "kind", "state", "phase", "progress"))
    if task.get("steps"):
        _print_steps(task["steps"])
    if task.get("error"):
        output.trouble(api.task_error(task))


def _print_steps(steps: list[dict[str, Any]]) -> None:
    moving = any(s.get("bytes_total") for s in steps)
    head = ("step", "state", "started", "ended", *(("bytes", "of") if moving else ()), "note")
    output.table(head, [
        (s.get("name"), s.get("state"), s.get("started_at"), s.get("ended_at"),
         *((sizes.show(s.get("bytes_done")), sizes.show(s.get("bytes_total"))) if moving else ()), s.get("note"))
        for s in steps
    ])


@verb(app, "list")
def list_tasks(session: Session) -> None:
    """List tasks, newest first."""
    found = session.api.everything(api.path("tasks"))
    if session.json:
        output.document(found)
        return
    output.table(("id", "kind", "state", "phase", "%"), [(t.get("id"), t.get("kind"), t.get("state"), t.get("phase"), t.get("progress")) for t in found])


@verb(app, "show")
def show(session: Session, tid: TaskName) -> None:
    """Show one task with its steps."""
    show_task(session, waiting.fetch(session, tid))


@verb(app, "watch")
def watch(session: Session, tid: TaskName, timeout: Annotated[float, typer.Option(help="Give up after so many seconds; 0: never.")] = 0) -> None:
    """Follow one task to its end; the exit code is that of its outcome."""
    (ended,) = waiting.until_final(session, [tid], waiting.Deadline(timeout))
    show_task(session, ended)
    if ended["state"] != "done":
        error = api.task_error(ended)
        if session.json:
            output.trouble(error)
        raise typer.Exit(api.exit_of(error))


@verb(app, "cancel")
def cancel(session: Session, tid: TaskName) -> None:
    """Ask for the end of one task; what was half done is undone."""
    answer = session.api.post(api.path("tasks", tid, "cancel"))
    show_task(session, answer if isinstance(answer, dict) and answer.get("id") else waiting.fetch(session, tid))


@verb(app, "trace")
def trace(session: Session, tid: TaskName) -> None:
    """Print one task's way through all roles."""
    found = session.api.get(api.path("tasks", tid, "trace"))
    if session.json:
        output.document(found)
        return
    rows = [
        (e.get("at"), e.get("role"), e.get("host"), e.get("what"), " ".join(f"{k}={v}" for k, v in (e.get("fields") or {}).items()))
        for e in found.get("events", [])
    ]  # fmt: skip
    output.table(("at", "role", "host", "what", "fields"), rows)
