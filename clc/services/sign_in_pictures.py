"""What the API and the pages show of sign-ins: tokens, sessions, the second step."""

from __future__ import annotations

from typing import Any

from clc.services import second_step
from luhyaapi import clock
from luhyadb.models import Account, ApiToken, BrowserSession, Passkey

Picture = dict[str, Any]


def token(row: ApiToken, here: str) -> Picture:
    """One token; ``here``: the id of the one that asks."""
    return {
        "id": row.pk, "name": row.name, "username": row.account.username, "scope": row.scope, "signed_in": row.renewed_until > 0,
        "current": row.pk == here, "created_at": clock.rfc3339(row.created_at), "expires_at": clock.rfc3339(row.expires_at),
        "used_at": clock.rfc3339(row.used_at) if row.used_at else None, "used_from": row.used_from,
    }


def session(row: BrowserSession, here: str) -> Picture:
    """One session; ``here``: the id of the one that asks."""
    return {
        "id": row.ident, "username": row.account.username if row.account else "", "current": row.ident == here,
        "created_at": clock.rfc3339(row.created_at), "expires_at": clock.rfc3339(row.expire_date.timestamp()),
        "used_at": clock.rfc3339(row.used_at), "address": row.address, "agent": row.agent, "browser": called(row.agent),
    }


_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)
"""What stands in the text a browser sends of itself; the first that is there counts, for each names others too."""


def called(agent: str) -> str:
    """What people call the browser and the system of a user agent; itself where neither is known."""
    found = [next((name for sign, name in known if sign in agent), "") for known in (_BROWSERS, _SYSTEMS)]
    return ", ".join(name for name in found if name) or agent


def passkey(row: Passkey) -> Picture:
    """One passkey."""
    return {"id": row.pk, "name": row.name, "created_at": clock.rfc3339(row.created_at), "used_at": clock.rfc3339(row.used_at) if row.used_at else None}


def second_step_of(account: Account) -> Picture:
    """Whether signing in needs a code, and how many recovery codes are left."""
    return {"on": second_step.is_on(account), "recovery_codes_left": second_step.codes_left(account)}
