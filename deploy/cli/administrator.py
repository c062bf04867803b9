"""`educloud admin`: one's own account."""

from __future__ import annotations

from dataclasses import replace

from deploy.cli import api, contexts, output
from deploy.cli.session import PasswordFile, Session, noun, verb
from luhyaapi.errors import Refused, Trouble

app = noun("admin")


@verb(app, "password")
def password(session: Session, password_file: PasswordFile = "") -> None:
    """Change one's own password; every session ends, this client signs in again."""
    chosen = session.password(password_file, prompt="New password", new=True)
    if not chosen:
        raise Refused("invalid", "A new password is needed", "none was given", hint="Add --password-file FILE.")
    answer = session.api.post(api.path("users", "me", "password"), {"password": chosen}) or {}
    renewed = _renewed(session, str(answer.get("username") or ""), chosen)
    if session.json:
        output.document({k: v for k, v in answer.items() if k != "password"} | {"changed": True, "signed_in": renewed})
        return
    output.note("The password is changed.")
    if not renewed:
        output.note(f"Sign in again: educloud login {session.api.context.url}")


def _renewed(session: Session, user: str, chosen: str) -> bool:
    """Give the stored contexts of the ended session a new token; whether there are any and it worked."""
    used = session.api.context
    mine = [c for c in contexts.load(session.config)[1].values() if (c.url, c.token) == (used.url, used.token)]
    try:
        for context in mine:
            token = api.sign_in(context, user or context.user or "admin", chosen, session.transport)["token"]
            contexts.save(replace(context, token=str(token)), session.config, current=False)
    except (Trouble, KeyError):
        return False
    return bool(mine)
