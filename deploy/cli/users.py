"""`educloud user`: accounts."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

import typer

from deploy.cli import api, output
from deploy.cli.session import PasswordFile, Session, noun, verb

app = noun("user")


@verb(app, "add")
def add_user(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")],
    role: Annotated[Literal["user", "admin"], typer.Option(help="What it may do.")] = "user",
    password_file: PasswordFile = "",
) -> None:
    """Add an account. Without a password one is made up and shown once."""
    api.segment(name, "name of an account")
    given = session.password(password_file, prompt=f"Password of {name} (empty: make one up)", new=True)
    password = given or secrets.token_urlsafe(12)
    made = session.api.post(api.path("users"), {"username": name, "role": role, "password": password}) or {}
    shown = {k: v for k, v in made.items() if k != "password"} or {"username": name, "role": role}
    if not given:
        shown["password"] = password
    if session.json:
        output.document(shown)
    else:
        output.fields(shown, ("id", "username", "role", "password"))
