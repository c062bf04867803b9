"""`educloud user`: accounts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from deploy.cli import api, output, passwords
from deploy.cli.session import PasswordFile, Session, noun, verb

app = noun("user")
UserName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")]
_FIRST = ("id", "username", "role", "password")


def _print(session: Session, shown: dict[str, Any]) -> None:
    if session.json:
        output.document(shown)
    else:
        output.fields(shown, _FIRST)


@verb(app, "add")
def add_user(
    session: Session, name: UserName, role: Annotated[Literal["user", "admin"], typer.Option(help="What it may do.")] = "user",
    password_file: PasswordFile = "",
) -> None:
    """Add an account. Without a password one is made up and shown once; either is good for choosing another one."""
    api.segment(name, "name of an account")
    password, is_made_up = passwords.made_or_given(session, password_file, name)
    made = session.api.post(api.path("users"), {"username": name, "role": role, "password": password}) or {}
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
    """Give somebody a new password, good for choosing another; their sessions and tokens end. Without one it is made up and shown once."""
    where = api.path("users", name, "password")
    chosen, is_made_up = passwords.made_or_given(session, password_file, name)
    session.api.post(where, {"password": chosen})
    shown: dict[str, Any] = {"username": name, "changed": True}
    _print(session, shown | ({"password": chosen} if is_made_up else {}))


@verb(app, "deactivate")
def deactivate(session: Session, name: UserName) -> None:
    """Have nobody sign in to an account; sessions and tokens end at once, what it owns stays and runs."""
    _print(session, session.api.post(api.path("users", name, "deactivate")))


@verb(app, "reactivate")
def reactivate(session: Session, name: UserName) -> None:
    """Have somebody sign in again."""
    _print(session, session.api.post(api.path("users", name, "reactivate")))


@verb(app, "unlock")
def unlock(session: Session, name: UserName) -> None:
    """Forget the wrong passwords that were tried for an account: nobody has to wait."""
    _print(session, session.api.post(api.path("users", name, "unlock")))


@verb(app, "remove-second-step")
def remove_second_step(session: Session, name: UserName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Turn off the second step of somebody who lost the phone: then the password alone signs in."""
    where = api.path("users", name, "second-step")
    output.confirm(f"Turning off the second step of {name}", yes=yes, terminal=session.terminal)
    session.api.delete(where)
    if session.json:
        output.document({"username": name, "second_step": False})
    else:
        output.note(f"{name} signs in by password alone.")


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
