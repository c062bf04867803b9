"""`educloud group`: the tree that people and resources belong to."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb

app = noun("group")
Path = Annotated[str, typer.Argument(metavar="PATH", help="A path like edu.school.class, or the id of the group.")]


def _print(session: Session, group: dict[str, Any]) -> None:
    if session.json:
        output.document(group)
    else:
        output.fields(group, ("id", "path", "people", "takes_requests", "created_at"))


@verb(app, "list")
def list_groups(session: Session, below: Annotated[str, typer.Option(metavar="PATH", help="Only this group and those below it.")] = "") -> None:
    """List the groups you see."""
    found = session.api.everything(api.path("groups") + (f"?{urlencode({'below': below})}" if below else ""))
    if session.json:
        output.document(found)
    else:
        output.table(("path", "people", "id"), [(each.get("path") or "everybody", each.get("people"), each.get("id")) for each in found])


@verb(app, "show")
def show(session: Session, path: Path) -> None:
    """Show one group."""
    _print(session, session.api.get(api.path("groups", path)))


@verb(app, "create")
def create(session: Session, path: Path) -> None:
    """Make a group below one that is there."""
    _print(session, session.api.post(api.path("groups"), {"path": path}))


@verb(app, "move")
def move(session: Session, path: Path, new: Annotated[str, typer.Argument(metavar="NEW", help="Its path from now on.")]) -> None:
    """Rename or move a group with all below it; people and resources stay in it."""
    _print(session, session.api.patch(api.path("groups", path), {"path": new}))


@verb(app, "requests")
def take_requests(session: Session, path: Path, on: Annotated[bool, typer.Option("--open/--close", help="Whether anybody may ask.")] = True) -> None:
    """Have anybody ask for an account in a group, or nobody any more (administrators); who may add people there decides."""
    _print(session, session.api.put_json(api.path("groups", path, "requests"), {"on": on}))


@verb(app, "delete")
def delete(session: Session, path: Path, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Give up a group that nothing belongs to."""
    output.confirm(f"Giving up the group {path}", yes=yes, terminal=session.terminal)
    session.api.delete(api.path("groups", path))
    if session.json:
        output.document({"path": path, "deleted": True})
    else:
        output.note(f"The group {path} is given up.")
