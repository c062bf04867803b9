"""`educloud expiry`: when machines of groups end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb

app = noun("expiry")
When = Annotated[str, typer.Argument(metavar="WHEN", help="7d, 12h, 2030-01-31 (when that day is over), a moment, or never.")]
Path = Annotated[str, typer.Argument(metavar="PATH", help="The group, with all below it.")]
_NAMES = ("default", "longest", "warn", "delete_after", "budget_grace")


@verb(app, "group")
def all_of_group(session: Session, group: Path, when: When) -> None:
    """Have all machines of a group end at one time, or never."""
    done = session.api.put_json(api.path("groups", group, "expiry"), {"expires": when})
    if session.json:
        output.document(done)
    else:
        output.note(f"{done['machines']} machines of {done['group']}: {when}.")


def _print(session: Session, rule: dict[str, Any]) -> None:
    if session.json:
        output.document(rule)
        return
    output.table(("rule", "own", "binding"), [(name, rule["own"][name] or "-", rule["binding"][name] or "never") for name in _NAMES])


@verb(app, "rule")
def rule(
    session: Session, group: Path,
    default: Annotated[str, typer.Option(metavar="SPAN", help="How long a machine is there of which nobody says so; never: nothing is said.")] = "",
    longest: Annotated[str, typer.Option(metavar="SPAN", help="How long its owner may have it at most.")] = "",
    warn: Annotated[str, typer.Option(metavar="SPAN", help="How long before its end it is told; 24h unless said.")] = "",
    delete_after: Annotated[str, typer.Option(metavar="SPAN", help="What has ended is deleted so long afterwards; 0s: it stays.")] = "",
    budget_grace: Annotated[str, typer.Option(metavar="SPAN", help="What runs when a budget is used up goes on so long; 24h unless said.")] = "",
) -> None:  # fmt: skip
    """Show what a group says of the ends of its machines and what binds them; change it by the options."""
    where = api.path("groups", group, "expiry-rule")
    given = dict(zip(_NAMES, (default, longest, warn, delete_after, budget_grace), strict=True))
    given = {name: text for name, text in given.items() if text}
    _print(session, session.api.put_json(where, given) if given else session.api.get(where))


def _print_held(session: Session, held: dict[str, Any], said: str) -> None:
    if session.json:
        output.document(held)
    else:
        output.note(f"{held['stops']} to stop and {held['deletes']} to delete {said}.")


@verb(app, "held")
def held(session: Session) -> None:
    """Tell how many ends wait for an administrator's word: more than a tenth of all at once."""
    _print_held(session, session.api.get(api.path("expiry", "held")), "wait for a word")


@verb(app, "let-go")
def let_go(session: Session, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Have all that waits end: look at the clock of the CLC's host first."""
    waiting = session.api.get(api.path("expiry", "held"))
    output.confirm(f"Stopping {waiting['stops']} and deleting {waiting['deletes']} machines", yes=yes, terminal=session.terminal)
    _print_held(session, session.api.post(api.path("expiry", "let-go")), "end now")
