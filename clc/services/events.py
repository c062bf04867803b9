"""What happened, in order: the append-only list that pages follow and traces are made of."""

from __future__ import annotations

from typing import Any

from luhyaapi import clock
from luhyadb.models import Account, Event


def record(
    noun: str, subject: str, what: str, /, *, owner: Account | None = None, owner_id: int | None = None, task: str = "",
    host: str = "", **fields: Any,
) -> None:
    """Append one event; call it in the transaction of the change. ``what`` is a verb phrase."""
    Event.objects.create(
        at=clock.now(), noun=noun, subject=subject, what=what[:80], task=task, host=host, fields=fields,
        owner_id=owner.pk if owner else owner_id,
    )
