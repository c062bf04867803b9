"""`educloud admin`: one's own account."""

from __future__ import annotations

from deploy.cli import api, output, passwords
from deploy.cli.session import PasswordFile, Session, noun, verb
from luhyaapi.errors import Refused

app = noun("admin")


@verb(app, "password")
def password(session: Session, password_file: PasswordFile = "") -> None:
    """Change one's own password; every session ends, this client signs in again."""
    chosen = session.password(password_file, prompt="New password", new=True)
    if not chosen:
        raise Refused("invalid", "A new password is needed", "none was given", hint="Add --password-file FILE.")
    answer = session.api.post(api.path("users", "me", "password"), {"password": chosen}) or {}
    renewed = passwords.signed_in_again(session, str(answer.get("username") or ""), chosen)
    if session.json:
        output.document({k: v for k, v in answer.items() if k != "password"} | {"changed": True, "signed_in": renewed})
        return
    output.note("The password is changed.")
    if not renewed:
        output.note(f"Sign in again: educloud login {session.api.context.url}")
