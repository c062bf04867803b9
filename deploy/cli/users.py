"""`educloud user`: accounts."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli import api, output, passwords
from deploy.cli.session import PasswordFile, Session, noun, verb
from luhyaapi import tables
from luhyaapi.errors import Refused

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
    service: Annotated[bool, typer.Option("--service", help="A program's: nobody signs in to it; `token create --user NAME` makes its tokens.")] = False,
) -> None:
    """Add an account. Without a password one is made up and shown once; either is good for choosing another one."""
    api.segment(name, "name of an account")
    if service:
        _print(session, session.api.post(api.path("users", "service"), {"username": name, "role": role, "group": group}))
        return
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
    """Give somebody a new password, good for choosing another; their sessions and tokens end. Without one it is made up and shown once."""
    where = api.path("users", name, "password")
    chosen, is_made_up = passwords.made_or_given(session, password_file, name)
    session.api.post(where, {"password": chosen})
    shown: dict[str, Any] = {"username": name, "changed": True}
    _print(session, shown | ({"password": chosen} if is_made_up else {}))


Preview = Annotated[bool, typer.Option("--preview", help="Only look: nothing is changed.")]
Role = Annotated[str, typer.Option(help="The access role of all that say none.")]
InGroup = Annotated[str, typer.Option("--group", metavar="PATH", help="The group of all that say none; your own when left out.")]
PasswordsTo = Annotated[str, typer.Option("--passwords", metavar="FILE", help="Where to write the passwords that were made up (username,password).")]


def _batch(session: Session, where: str, form: dict[str, Any], passwords_to: str) -> None:
    said = session.api.post(api.path("users", where), form)
    made = [(each["username"], each["password"]) for each in said["lines"] if each["password"]]
    if passwords_to and made:
        with os.fdopen(os.open(passwords_to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("username", "password"), *made])
    if session.json:
        output.document(said if not passwords_to else said | {"lines": [each | {"password": None} for each in said["lines"]]})
        return
    heads = ("line", "username", "group", "role", "action", "why" if passwords_to or not made else "password")
    output.table(heads, [tuple(each.get(head) or "" for head in heads) for each in said["lines"]])
    counted = ", ".join(f"{count} {action}" for action, count in said["counts"].items() if count)
    output.note(f"{counted}." if said["done"] else f"{counted}; nothing is changed yet.")


@verb(app, "import")
def bring_in(
    session: Session, file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV table whose first line names username, group, role, password.")],
    group: InGroup = "", role: Role = "user", preview: Preview = False, passwords_to: PasswordsTo = "",
) -> None:  # fmt: skip
    """Make and move accounts as a table says, all or none; the same table again changes nothing."""
    _free(passwords_to)
    form = {"table": tables.decoded(file.read_bytes()), "group": group, "role": role, "preview": preview}
    _batch(session, "import", form, passwords_to)


@verb(app, "numbered")
def numbered(
    session: Session, prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="What their names begin with.")],
    first: Annotated[int, typer.Argument(metavar="FIRST", help="The first number.")],
    last: Annotated[int, typer.Argument(metavar="LAST", help="The last one.")],
    group: InGroup = "", role: Role = "user", preview: Preview = False, passwords_to: PasswordsTo = "",
) -> None:  # fmt: skip
    """Make accounts of a prefix and numbers, all or none."""
    _free(passwords_to)
    _batch(session, "numbered", {"prefix": prefix, "first": first, "last": last, "group": group, "role": role, "preview": preview}, passwords_to)


def _free(passwords_to: str) -> None:
    """Before anything is made: passwords are told once, so there must be room for them."""
    if passwords_to and Path(passwords_to).exists():
        raise Refused("exists", f"There is a file {passwords_to} already", "the passwords are written to a new one", hint="Name another file.")


@verb(app, "place")
def place(
    session: Session, name: UserName,
    role: Annotated[str, typer.Option(help="Its access role from now on.")] = "",
    group: Annotated[str, typer.Option(metavar="PATH", help="The group it belongs to from now on; everybody: none.")] = "",
) -> None:  # fmt: skip
    """Have somebody belong to another group, or have another access role there; what they own stays where it is."""
    _print(session, session.api.put_json(api.path("users", name, "place"), {"role": role, "group": group}))


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


@verb(app, "remove-passkeys")
def remove_passkeys(session: Session, name: UserName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Remove all passkeys of somebody who lost the device: they sign in by password until they add another."""
    output.confirm(f"Removing the passkeys of {name}", yes=yes, terminal=session.terminal)
    session.api.delete(api.path("users", name, "passkeys"))
    if session.json:
        output.document({"username": name, "passkeys": 0})
    else:
        output.note(f"{name} has no passkey any more.")
