"""`educloud user request` and `user me`: requests for accounts, and one's own profile."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, verb
from deploy.cli.users import app
from luhyaapi.errors import Refused

requests = typer.Typer(name="request", help="Requests for accounts: list, approve, refuse.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(requests)
Asked = Annotated[str, typer.Argument(metavar="ID", help="Id of the request, as `user request list` shows it.")]
_FIRST = ("username", "display_name", "email", "language", "role", "group")


@verb(requests, "list")
def list_requests(session: Session, everything: Annotated[bool, typer.Option("--all", help="Also those that were decided.")] = False) -> None:
    """List the requests for groups in which you may add people."""
    found = session.api.everything(api.path("account-requests") + ("" if everything else "?state=waiting"))
    if session.json:
        output.document(found)
        return
    names = ("id", "state", "username", "display_name", "email", "group", "reason", "created_at")
    taken = {True: "taken", False: ""}
    output.table((*names, "name"), [(*(r[name] for name in names), taken[r["name_is_taken"]]) for r in found])


@verb(requests, "approve")
def approve(
    session: Session, asked: Asked, role: Annotated[str, typer.Option(help="Its access role.")] = "user",
    group: Annotated[str, typer.Option(metavar="PATH", help="Its group; the one that was asked for when left out.")] = "",
    username: Annotated[str, typer.Option(metavar="NAME", help="Its name; the one that was asked for when left out.")] = "",
) -> None:  # fmt: skip
    """Make the account; its password is the one the applicant chose."""
    made = session.api.post(api.path("account-requests", asked, "approve"), {"role": role, "group": group, "username": username})
    if session.json:
        output.document(made)
    else:
        output.note(f"{made['username']} has an account now: {made['role']} in {made['group'] or 'everybody'}.")


@verb(requests, "refuse")
def refuse(session: Session, asked: Asked, why: Annotated[str, typer.Option(metavar="TEXT", help="What the applicant is told.")] = "") -> None:
    """Have no account made."""
    if not why:
        raise Refused("invalid", "A reason is needed", "the applicant is told it", hint="Add --why TEXT.")
    done = session.api.post(api.path("account-requests", asked, "refuse"), {"why": why})
    if session.json:
        output.document(done)
    else:
        output.note(f"The request of {done['username']} is refused.")


@verb(app, "me")
def me(
    session: Session,
    display_name: Annotated[str | None, typer.Option("--display-name", metavar="TEXT", help="What people call you; empty: nothing else.")] = None,
    email: Annotated[str | None, typer.Option("--email", metavar="ADDRESS", help="Your e-mail address; empty: none.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="Of the console: en, zh-hans; empty: the browser's.")] = None,
) -> None:  # fmt: skip
    """Show who is signed in, or change what you say of yourself."""
    given = {k: v for k, v in {"display_name": display_name, "email": email, "language": language}.items() if v is not None}
    shown = session.api.patch(api.path("users", "me", "profile"), given) if given else session.api.get(api.path("users", "me"))
    if session.json:
        output.document(shown)
    else:
        output.fields(shown, _FIRST)
