"""The chain over the events: the sealer, and what retention removes. The only writer of Chain.

Only the beat of the CLC seals and removes; a row locked for it keeps two of them apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from clc.services import events
from luhyaapi import chain, clock, log
from luhyaapi.chain import Head
from luhyadb import memory
from luhyadb.models import Chain, Event

AT_ONCE = 1000
_IN_ONE_BEAT = 5_000
_REMOVED_AT_ONCE = 20_000
_DAY_S = 24 * 3600.0
_log = log.get(__name__)
Line = dict[str, Any]


def tend() -> None:
    """What the beat does: seal what is committed; once a day remove what is too old, and note the head in the log."""
    _seal_all(_IN_ONE_BEAT)
    if abs(clock.now() - _chain().noted_at) < _DAY_S:
        return
    with _turn() as row:
        row.noted_at = clock.now()
        row.save(update_fields=["noted_at"])
    while remove_old() == _REMOVED_AT_ONCE:
        pass
    _seal_all(_IN_ONE_BEAT)
    _log.info("head of the audit chain", head=str(head()))


def _seal_all(at_most: int) -> None:
    for _ in range(at_most // AT_ONCE):
        if seal() < AT_ONCE:
            break


def seal() -> int:
    """Give committed events their numbers and digests, in the order of their ids, at most a thousand; how many."""
    if not unsealed().exists():
        return 0
    with _turn() as row:
        found = list(unsealed().order_by("id")[:AT_ONCE])
        for event in found:
            event.number = row.number + 1
            event.digest = chain.digest(row.digest, line(event))
            row.number, row.digest = event.number, event.digest
        events.number(found)
        row.save(update_fields=["number", "digest"])
    return len(found)


def line(event: Event) -> Line:
    """An event as the chain holds it: what is sealed, exported and verified."""
    return {
        "number": event.number, "at": clock.rfc3339(event.at), "noun": event.noun, "subject": event.subject, "what": event.what,
        "result": str(event.result), "actor_id": event.actor_id, "actor": event.actor_name, "owner_id": event.owner_id, "via": str(event.via),
        "origin": event.origin, "token": event.token, "host": event.host, "task": event.task, "request": event.request,
        "fields": event.fields, "before": event.before, "after": event.after,
    }


def unsealed() -> QuerySet[Event]:
    """Events that are not in the chain yet."""
    return Event.objects.filter(number=None)


def _chain() -> Chain:
    return Chain.objects.filter(pk=1).first() or Chain(pk=1)


@contextlib.contextmanager
def _turn() -> Iterator[Chain]:
    """A transaction in which nobody else seals or removes.

    The row is made before it: on MariaDB two who make it at once both hold a part of its lock, and then neither gets the whole.
    """
    Chain.objects.get_or_create(pk=1)
    with memory.atomic():
        yield Chain.objects.select_for_update().get(pk=1)


def head() -> Head:
    """The last line that was sealed."""
    row = _chain()
    return Head(row.number, row.digest)


def anchor() -> Head:
    """The last line that retention removed."""
    row = _chain()
    return Head(row.anchor_number, row.anchor_digest)


def remove_old() -> int:
    """Remove lines at the beginning that are older than ``audit.keep_days``, and have a line say so; how many. The newest line stays."""
    keep_s = settings.EDUCLOUD.audit.keep_days * _DAY_S
    if not keep_s:
        return 0
    with _turn() as row:
        first = row.anchor_number + 1
        upto = min(row.anchor_number + _REMOVED_AT_ONCE, row.number - 1)
        sealed = Event.objects.filter(number__gte=first, number__lte=upto).order_by("number")
        kept = sealed.filter(at__gte=clock.now() - keep_s).values_list("number", flat=True).first()
        last = (sealed if kept is None else sealed.filter(number__lt=kept)).last()
        if last is None:
            return 0
        noun, what = chain.REMOVED
        events.record(noun, "chain", what, upto=last.number, digest=last.digest)
        removed = events.remove(Event.objects.filter(number__gte=first, number__lte=last.number))
        row.anchor_number, row.anchor_digest = last.number, last.digest
        row.save(update_fields=["anchor_number", "anchor_digest"])
    return removed
