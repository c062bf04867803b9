"""What the API and the pages show of requests for accounts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models.functions import Lower

from clc.services import groups
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import RequestState
from luhyadb.models import Account, AccountRequest

Picture = dict[str, Any]


def mine(row: AccountRequest) -> Picture:
    """One request, for who made it."""
    return {
        "state": RequestState(row.state), "username": row.account.username if row.account else row.username, "group": groups.shown(row.group.path),
        "why": row.why,
        "created_at": clock.rfc3339(row.created_at), "decided_at": clock.rfc3339(row.decided_at) if row.decided_at else None,
    }


def requests(rows: Iterable[AccountRequest]) -> list[Picture]:
    """Requests, for who decides; one question says which names are taken."""
    known = list(rows)
    waiting = {row.username.lower() for row in known if row.state == RequestState.WAITING}
    taken = set(Account.objects.annotate(lower=Lower("username")).filter(lower__in=waiting).values_list("lower", flat=True))
    return [mine(row) | {
        "id": row.pk, "username": row.username, "display_name": row.display_name, "email": row.email, "reason": row.reason, "decided_by": row.decided_by,
        "name_is_taken": row.state == RequestState.WAITING and row.username.lower() in taken,
    } for row in known]
