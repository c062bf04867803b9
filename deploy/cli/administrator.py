"""`educloud admin`: one's own account."""

from __future__ import annotations

from deploy.cli import api, output
from deploy.cli.session import PasswordFile, Session, noun, verb
from luhyaapi.errors import Refused

app = noun("admin")


@verb(app, "password")
def password(session: Session, password_file: PasswordFile = "") -> None:
    """Change one's own password."""
    chosen = session.password(password_file, prompt="New password", new=True)
    if not chosen:
        raise Refused("invalid", "A new password is needed", "none was given", hint="Add --password-file FILE.")
    answer = session.api.post(api.path("users", "me", "password"), {"password": chosen})
    if session.json:
        output.document({k: v for k, v in (answer or {}).items() if k != "password"} | {"changed": True})
    else:
        output.note("The password is changed.")
