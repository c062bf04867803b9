"""`educloud workspace`: the next version of an image, made through a running guest."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, instances, output, sizes, waiting
from deploy.cli.session import Session, noun, verb
from luhyaapi.errors import from_wire

app = noun("workspace")
SpaceId = Annotated[str, typer.Argument(metavar="ID", help="The workspace's id.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the workspace at once instead of waiting for its task.")]
Timeout = Annotated[float, typer.Option(metavar="S", help="Give up waiting after so many seconds; 0: never. The cloud goes on.")]
_WAIT_S = 1800.0

Workspace = dict[str, Any]


def fetch(session: Session, ident: str) -> Workspace:
    """The workspace as the cloud sees it now."""
    found: Workspace = session.api.get(api.path("workspaces", ident))
    return found


def print_one(session: Session, space: Workspace) -> None:
    """Print one workspace."""
    if session.json:
        output.document(space)
        return
    base = space.get("base") or {}
    output.fields(
        {"id": space.get("id"), "state": space.get("state"), "image": space.get("image"), "version": space.get("version"),
         "from": f"{base.get('image')}:{base.get('version')}", "instance": f"{space['instance']['id']} ({space['instance']['state']})",
         "owner": space.get("owner"), "note": space.get("note")},
        ("id", "state", "image", "version", "from", "instance", "owner", "note"),
    )
    if space.get("error"):
        output.trouble(from_wire({k: str(v or "") for k, v in space["error"].items()}))


def begin(session: Session, order: dict[str, Any], *, no_wait: bool, timeout_s: float) -> None:
    """Begin one, wait until it can be edited, print it."""
    space = session.api.post(api.path("workspaces"), order)
    _followed(session, space, waiting.id_of(space["task"]), no_wait=no_wait, timeout_s=timeout_s)


def _followed(session: Session, space: Workspace, task: str, *, no_wait: bool, timeout_s: float) -> None:
    if not no_wait:
        waiting.finished(session, task, timeout_s)
    print_one(session, fetch(session, str(space["id"])))


@verb(app, "list")
def list_workspaces(session: Session) -> None:
    """List workspaces."""
    found = session.api.everything(api.path("workspaces"))
    if session.json:
        output.document(found)
        return
    output.table(
        ("id", "state", "image", "from", "instance", "owner", "created"),
        [(s.get("id"), s.get("state"), s.get("image"), f"{s['base']['image']}:{s['base']['version']}", s["instance"]["id"], s.get("owner"), s.get("created_at"))
         for s in found],
    )


@verb(app, "show")
def show(session: Session, workspace: SpaceId) -> None:
    """Show one workspace."""
    print_one(session, fetch(session, workspace))


@verb(app, "start")
def start(session: Session, workspace: SpaceId, no_wait: NoWait = False, timeout: Timeout = _WAIT_S) -> None:
    """Run its guest; `educloud workspace screen` shows its screen."""
    space = session.api.post(api.path("workspaces", workspace, "start"), {})
    _followed(session, space, str(space["instance"]["task"]), no_wait=no_wait, timeout_s=timeout)


@verb(app, "stop")
def stop(
    session: Session, workspace: SpaceId, grace: Annotated[int, typer.Option(metavar="S", help="Ask politely for so many seconds.")] = 60,
    no_wait: NoWait = False, timeout: Timeout = _WAIT_S,
) -> None:
    """Stop its guest; what it changed stays."""
    space = session.api.post(api.path("workspaces", workspace, "stop"), {"grace_s": grace})
    _followed(session, space, str(space["instance"]["task"]), no_wait=no_wait, timeout_s=timeout)


@verb(app, "screen")
def screen(session: Session, workspace: SpaceId) -> None:
    """Print the address of the page that shows its screen."""
    space = fetch(session, workspace)
    instances.screen(session, str(space["instance"]["id"]))


@verb(app, "submit")
def submit(
    session: Session, workspace: SpaceId, note: Annotated[str, typer.Option(help="Release note: what changed.")] = "",
    anyway: Annotated[bool, typer.Option("--anyway", help="Also when another version was published meanwhile.")] = False,
    no_wait: NoWait = False, timeout: Timeout = _WAIT_S,
) -> None:
    """Stop its guest and publish what it changed as the next version."""
    space = session.api.post(api.path("workspaces", workspace, "submit"), {"note": note, "anyway": anyway})
    _followed(session, space, waiting.id_of(space["task"]), no_wait=no_wait, timeout_s=timeout)


@verb(app, "abandon")
def abandon(
    session: Session, workspace: SpaceId, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_wait: NoWait = False, timeout: Timeout = _WAIT_S,
) -> None:
    """Throw away what was changed."""
    where = api.path("workspaces", workspace)
    output.confirm(f"Abandoning the workspace {workspace} and all that was changed in it", yes=yes, terminal=session.terminal)
    space = session.api.delete(where)
    machine = space["instance"]
    # its machine goes in a task of its own, unless nothing of it is there yet
    _followed(session, space, str(machine["task"]), no_wait=no_wait or machine["state"] == "deleted", timeout_s=timeout)
    output.note(f"The workspace {workspace} is abandoned.")


def order(image: str, name: str = "", cpus: int | None = None, memory: str = "", description: str = "") -> dict[str, Any]:
    """What is asked of the cloud."""
    asked = {"image": image, "name": name, "cpus": cpus, "memory_bytes": sizes.parse(memory) if memory else None, "description": description}
    return {k: v for k, v in asked.items() if v}
