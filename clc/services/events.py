"""What happened, in order, and who did it: the append-only list that pages follow, traces are made of and the chain seals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from clc.services import origins
from luhyaapi import clock, log
from luhyaapi.contracts.vocabulary import Result
from luhyadb import memory
from luhyadb.models import Account, Event

Values = Mapping[str, Any]


def record(  # noqa: PLR0913 - everything behind the sentence is named
    noun: str, subject: str, what: str, /, *, owner: Account | None = None, owner_id: int | None = None, task: str = "", host: str = "",
    actor: Account | None = None, before: Values | None = None, after: Values | None = None, result: Result = Result.DONE, **fields: Any,
) -> None:
    """Append one event; call it in the transaction of the change. ``what`` is a verb phrase.

    Who did it is told by where the work comes from, unless ``actor`` says so. Of ``before`` and ``after`` is kept what differs.
    """
    origin = origins.current()
    asker = origin.asker()
    actor = actor or asker.account
    old, new = _changed(before or {}, after or {})
    Event.objects.create(
        at=clock.now(), noun=noun, subject=subject, what=what[:80], task=task, host=host, fields=_masked(fields), before=old, after=new,
        owner_id=owner.pk if owner else owner_id, actor=actor, actor_name=actor.username if actor else "", via=origin.via,
        origin=origin.place[:100], token=asker.token, request=origin.request[:64], result=result,
    )


def _changed(before: Values, after: Values) -> tuple[dict[str, Any], dict[str, Any]]:
    same = {name for name in before if name in after and before[name] == after[name]}
    old, new = ({name: value for name, value in values.items() if name not in same} for values in (before, after))
    return _masked(old), _masked(new)


def _masked(values: Values) -> dict[str, Any]:
    return {name: "***" if log.is_secret(name) else value for name, value in values.items()}


def number(rows: Sequence[Event]) -> None:
    """Write the numbers and digests that the sealer gave to rows which had none. In its transaction."""
    table = Event._meta.db_table  # noqa: SLF001 - public, in spite of its name
    with connections[memory.alias()].cursor() as cursor:
        # one statement said again is several times quicker than the large one that bulk_update makes
        cursor.executemany(
            f"UPDATE {table} SET number = %s, digest = %s WHERE id = %s AND number IS NULL",  # noqa: S608 - our own table's name
            [(row.number, row.digest, row.pk) for row in rows],
        )


def remove(rows: QuerySet[Event]) -> int:
    """Have old events no more, for retention; how many."""
    return int(rows.delete()[0])
