"""`educloud user`: accounts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, output, passwords
from deploy.cli.session import PasswordFile, Session, noun, verb

app = noun("user")
UserName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")]
_FIRST = ("id", "username", "role", "group", "password")


def _print(session: Session, shown: dict[str, Any]) -> None:
    if session.json:
        output.document(shown)
    else:
        output.fields(shown, _FIRST)


@verb(app, "add")
def add_user(
    session: Session, name: UserName, role: Annotated[str, typer.Option(help="Its access role, as `access-role list` shows them.")] = "user",
    group: Annotated[str, typer.Option(metavar="PATH", help="The group it belongs to; your own when left out.")] = "",
    password_file: PasswordFile = "",
) -> None:
    """Add an account. Without a password one is made up and shown once."""
    api.segment(name, "name of an account")
    password, is_made_up = passwords.made_or_given(session, password_file, name)
    made = session.api.post(api.path("users"), {"username": name, "role": role, "group": group, "password": password}) or {}
    shown = {k: v for k, v in made.items() if k != "password"} or {"username": name, "role": role}
    _print(session, shown | ({"password": password} if is_made_up else {}))


@verb(app, "list")
def list_users(session: Session) -> None:
    """List all accounts."""
    found = session.api.everything(api.path("users"))
    if session.json:
        output.document(found)
    else:
        rows = [(u.get("id"), u.get("username"), u.get("role"), u.get("created_at")) for u in found]
        output.table(("id", "name", "role", "created"), rows)


@verb(app, "show")
def show(session: Session, name: UserName) -> None:
    """Show one account: its right, how many instances it has, when it last signed in."""
    _print(session, session.api.get(api.path("users", name)))


@verb(app, "password")
def password(session: Session, name: UserName, password_file: PasswordFile = "") -> None:
    """Give somebody a new password; their sessions and tokens end. Without a password one is made up and shown once."""
    where = api.path("users", name, "password")
    chosen, is_made_up = passwords.made_or_given(session, password_file, name)
    session.api.post(where, {"password": chosen})
    shown: dict[str, Any] = {"username": name, "changed": True}
    if name.casefold() == (session.api.context.user or "").casefold():
        shown["signed_in"] = passwords.signed_in_again(session, name, chosen)
    _print(session, shown | ({"password": chosen} if is_made_up else {}))


@verb(app, "place")
def place(
    session: Session, name: UserName,
    role: Annotated[str, typer.Option(help="Its access role from now on.")] = "",
    group: Annotated[str, typer.Option(metavar="PATH", help="The group it belongs to from now on; everybody: none.")] = "",
) -> None:  # fmt: skip
    """Have somebody belong to another group, or have another access role there; what they own stays where it is."""
    _print(session, session.api.put_json(api.path("users", name, "place"), {"role": role, "group": group}))


@verb(app, "delete")
def delete(session: Session, name: UserName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete an account that has no instances left; its sessions and tokens end at once."""
    where = api.path("users", name)
    output.confirm(f"Deleting the account {name}", yes=yes, terminal=session.terminal)
    answer = session.api.delete(where) or {"username": name, "deleted": True}
    if session.json:
        output.document(answer)
    else:
        output.note(f"The account {name} is deleted.")
