"""What the API and the pages show of sign-ins: tokens, sessions, the second step."""

from __future__ import annotations

from typing import Any

from clc.services import second_step
from luhyaapi import clock
from luhyadb.models import Account, ApiToken, BrowserSession

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
        "used_at": clock.rfc3339(row.used_at), "address": row.address, "agent": row.agent,
    }


def second_step_of(account: Account) -> Picture:
    """Whether signing in needs a code, and how many recovery codes are left."""
    return {"on": second_step.is_on(account), "recovery_codes_left": second_step.codes_left(account)}
