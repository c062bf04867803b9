"""Passwords that are set from the command line: where they come from, and signing in again with one's own."""

from __future__ import annotations

import secrets
from dataclasses import replace

from deploy.cli import api, contexts
from deploy.cli.session import Session
from luhyaapi.errors import Trouble


def made_or_given(session: Session, file: str, name: str) -> tuple[str, bool]:
    """The password for an account, and whether it was made up here: then it is shown this once."""
    given = session.password(file, prompt=f"Password of {name} (empty: make one up)", new=True)
    return given or secrets.token_urlsafe(12), not given


def signed_in_again(session: Session, user: str, password: str) -> bool:
    """Give the stored contexts of the ended session a new token; whether there are any and it worked."""
    used = session.api.context
    mine = [c for c in contexts.load(session.config)[1].values() if (c.url, c.token) == (used.url, used.token)]
    try:
        for context in mine:
            token = api.sign_in(context, user or context.user or "admin", password, session.transport)["token"]
            contexts.save(replace(context, token=str(token)), session.config, current=False)
    except (Trouble, KeyError):
        return False
    return bool(mine)
