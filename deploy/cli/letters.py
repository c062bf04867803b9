"""`educloud letter`: messages that could not be handled, and what to do with them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb

app = noun("letter")
LetterId = Annotated[str, typer.Argument(metavar="ID", help="Id of the dead letter.")]
HEADS = ("id", "when", "kind", "from", "to", "about", "task", "why", "sent again")


def _row(letter: dict[str, Any]) -> tuple[Any, ...]:
    again = letter.get("sent_again_at") or ""
    return *(letter.get(k) for k in ("id", "created_at", "kind", "sender", "to", "about", "task", "reason")), again


def _print(session: Session, shown: dict[str, Any]) -> None:
    if session.json:
        output.document(shown)
    else:
        output.fields(shown, ("id", "created_at", "kind", "sender", "to", "about", "task", "queue", "reason", "times"))


@verb(app, "list")
def list_letters(session: Session) -> None:
    """List messages that could not be handled."""
    found = session.api.everything(api.path("letters"))
    if session.json:
        output.document(found)
    else:
        output.table(HEADS, [_row(each) for each in found])


@verb(app, "show")
def show(session: Session, letter: LetterId) -> None:
    """Show one with its story."""
    _print(session, session.api.get(api.path("letters", letter)))


@verb(app, "resend")
def resend(session: Session, letter: LetterId) -> None:
    """Send one again."""
    _print(session, session.api.post(api.path("letters", letter, "resend")))


@verb(app, "drop")
def drop(session: Session, letter: LetterId, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Forget one."""
    where = api.path("letters", letter)
    output.confirm(f"Forgetting the dead letter {letter}", yes=yes, terminal=session.terminal)
    session.api.delete(where)
    if session.json:
        output.document({"id": letter, "dropped": True})
    else:
        output.note(f"The dead letter {letter} is forgotten.")
