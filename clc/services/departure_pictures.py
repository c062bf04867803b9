"""What the API and the pages show of an account that shall be deleted: what it owns, and how far it is."""

from __future__ import annotations

from typing import Any

from clc.services import belongings, departures
from luhyaapi import clock
from luhyadb.models import Account

Picture = dict[str, Any]


def departure(account: Account) -> Picture:
    """What somebody owns, what of it others need, and since when it is being deleted; None: it is not."""
    row = departures.of(account)
    return {
        "username": account.username,
        "owns": [{"kind": pile.kind, "count": pile.count, "names": list(pile.names), "ends_anyway": pile.ends} for pile in belongings.of(account)],
        "needed_by_others": belongings.needed_by_others(account),
        "under_way": {"by": row.by.username, "asked_at": clock.rfc3339(row.asked_at), "trouble": row.trouble} if row else None,
    }
