"""`educloud admin`: one's own account."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli import api, output, passwords
from deploy.cli.session import PasswordFile, Session, noun, verb
from luhyaapi.errors import Refused

app = noun("admin")


@verb(app, "password")
def password(
    session: Session, password_file: PasswordFile = "",
    current_password_file: Annotated[str, typer.Option(metavar="FILE", help="File with the password it was until now.")] = "",
) -> None:
    """Change one's own password; every session ends, this client signs in again."""
    current = session.password(current_password_file, prompt="Current password", variable="EDUCLOUD_CURRENT_PASSWORD_FILE")
    if not current:
        raise Refused("invalid", "The current password is needed", "none was given", hint="Add --current-password-file FILE.")
    chosen = session.password(password_file, prompt="New password", new=True)
    if not chosen:
        raise Refused("invalid", "A new password is needed", "none was given", hint="Add --password-file FILE.")
    answer = session.api.post(api.path("users", "me", "password"), {"password": chosen, "current_password": current}) or {}
    renewed = passwords.signed_in_again(session, str(answer.get("username") or ""), chosen)
    if session.json:
        output.document({k: v for k, v in answer.items() if k != "password"} | {"changed": True, "signed_in": renewed})
        return
    output.note("The password is changed.")
    if not renewed:
        output.note(f"Sign in again: educloud login {session.api.context.url}")
