"""Dead letters of the whole cloud, as an administrator deals with them: our own here, a cluster's by an order to it."""

from __future__ import annotations

from clc.services import events
from clc.services.own import own
from luhyaapi import ids
from luhyaapi.contracts.commands import LetterResend
from luhyadb import letters, memory, outbox, scope
from luhyadb.models import Account, Letter


def find(account: Account, letter: str) -> Letter:
    """One letter. Raises Refused(forbidden | not_found)."""
    scope.require_admin(account)
    return scope.one(account, Letter, pk=letter)


def resend(account: Account, letter: str) -> Letter:
    """Have it sent again by the boss whose broker it died in. Raises Refused(forbidden | not_found | state)."""
    with memory.atomic():
        row = find(account, letter)
        if row.host == own().id:
            letters.want_again(row.pk)
        else:
            _order(row, drop=False)
        events.record("host", row.host, "dead letter is sent again", host=row.host, letter=row.pk)
    return row


def drop(account: Account, letter: str) -> None:
    """Forget it."""
    with memory.atomic():
        row = find(account, letter)
        events.record("host", row.host, "dead letter dropped", host=row.host, letter=row.pk)
        if row.host == own().id:
            letters.drop(row.pk)
        else:
            _order(row, drop=True)


def _order(row: Letter, *, drop: bool) -> None:
    outbox.send(LetterResend(letter=row.pk, drop=drop), row.host, sender=own().id, task=ids.new("tsk"))
