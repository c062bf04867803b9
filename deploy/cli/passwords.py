"""Passwords that are set from the command line: where they come from, and signing in with them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from deploy.cli import api, contexts, output
from deploy.cli.contexts import Context
from deploy.cli.session import Session
from luhyaapi.errors import Refused, Trouble


def made_or_given(session: Session, file: str, name: str) -> tuple[str, bool]:
    """The password for an account, and whether it was made up here: then it is shown this once."""
    given = session.password(file, prompt=f"Password of {name} (empty: make one up)", new=True)
    return given or secrets.token_urlsafe(12), not given


def signed_in(session: Session, context: Context, user: str, password: str, code: str = "") -> dict[str, Any]:
    """``token`` and ``expires_at`` of a new sign-in; a code of the second step is asked for where one is needed and somebody is there."""
    try:
        return api.sign_in(context, user, password, session.transport, code)
    except Refused as e:
        if e.code != "second_step" or code or not session.terminal():
            raise
    return api.sign_in(context, user, password, session.transport, session.asked("Code of the second step"))


def own_instead(session: Session, context: Context, user: str, password: str) -> Context:
    """Somebody else chose the password: have another one chosen now, where somebody is there to; the context that is good for more."""
    output.note("Somebody else chose this password, and knows it: until you choose another, nothing else is possible.")
    chosen = session.password("", prompt="New password", new=True, variable="") if session.terminal() else ""
    if not chosen:
        output.note("Choose it by `educloud admin password`, or at the console.")
        return context
    cloud = api.Api(context, session.transport)
    try:
        cloud.post(api.path("users", "me", "password"), {"password": chosen, "current_password": password})
    finally:
        cloud.close()
    return replace(context, token=str(signed_in(session, context, user, chosen)["token"]))


def signed_in_again(session: Session, user: str, password: str) -> bool:
    """Give the stored contexts of the ended session a new token; whether there are any and it worked."""
    used = session.api.context
    mine = [c for c in contexts.load(session.config)[1].values() if (c.url, c.token) == (used.url, used.token)]
    try:
        for context in mine:
            token = signed_in(session, context, user or context.user or "admin", password)["token"]
            contexts.save(replace(context, token=str(token)), session.config, current=False)
    except (Trouble, KeyError):
        return False
    return bool(mine)
