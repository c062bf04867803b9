"""Ports of instances that are reached by ports of their cluster: the only writer of Forward."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from clc.services import access, events
from luhyaapi import clock, ids
from luhyaapi.contracts.reports import AccessFacts
from luhyaapi.contracts.vocabulary import Protocol, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Access, Account, Forward, Instance

AT_MOST = 16
_SOURCES = 64
_LONGEST_S = 10 * 366 * 24 * 3600.0
_ENDED_AT_ONCE = 200


@dataclass(frozen=True)
class Ask:
    """A forward somebody asks for. ``sources``: IPv4 CIDRs, none: anyone. It ends at ``until`` (seconds since 1970) or in ``for_s`` seconds, or never."""

    guest_port: int
    protocol: str = Protocol.TCP
    sources: Sequence[str] = ()
    until: float | None = None
    for_s: float | None = None


def add(account: Account, ident: str, ask: Ask) -> Forward:
    """Have a port of an instance reached from outside; which port of its cluster does it is told later.

    Raises Refused(not_found | invalid | exists | quota), Refused(state) for an instance without a place.
    """
    if not 1 <= ask.guest_port <= 65535:
        raise Refused("invalid", "The port is not possible", f"give 1 to 65535, not {ask.guest_port}", field="guest_port")
    if ask.protocol not in list(Protocol):
        raise Refused("invalid", "protocol is not possible", f"give {' or '.join(Protocol)}, not {ask.protocol[:20]!r}", field="protocol")
    sources, until = _sources(ask.sources), _until(ask)
    with memory.atomic():
        row = access.held(account, ident)
        if not access.is_placed(row):
            raise Refused("state", "No port of this instance can be reached yet", "it has no place in a cluster", hint="Wait until it was placed.")
        there = list(Forward.objects.select_for_update().filter(instance=row))
        if any((each.protocol, each.guest_port) == (ask.protocol, ask.guest_port) for each in there):
            raise Refused("exists", f"Port {ask.guest_port} is forwarded already", "by the same protocol", hint="Delete that forward first.",
                          field="guest_port")
        if len(there) >= AT_MOST:
            raise Refused("quota", "The instance has too many forwards", f"at most {AT_MOST}", hint="Delete one first.")
        made = Forward.objects.create(
            id=ids.new("fwd"), instance=row, protocol=ask.protocol, guest_port=ask.guest_port, sources=sources, until=until, created_at=clock.now(),
        )
        events.record("instance", row.pk, "forward asked for", owner_id=row.owner_id, forward=made.pk, port=made.guest_port, protocol=ask.protocol)
        access.changed([row])
    return made


def _sources(given: Sequence[str]) -> list[str]:
    if len(given) > _SOURCES:
        raise Refused("invalid", "Too many sources", f"at most {_SOURCES}", field="sources")
    try:
        return list(dict.fromkeys(str(ipaddress.IPv4Network(text.strip())) for text in given))
    except ValueError as e:
        raise Refused("invalid", "A source cannot be read", f"{e}: give IPv4 addresses in CIDR, for example 10.0.0.0/8", field="sources") from e


def _until(ask: Ask) -> float:
    if ask.until is None and ask.for_s is None:
        return 0.0
    now = clock.now()
    until = ask.until if ask.until is not None else now + (ask.for_s or 0)
    if ask.until is not None and ask.for_s is not None:
        raise Refused("invalid", "It ends at a time or after one", "give until or for_s", field="until")
    if not now < until <= now + _LONGEST_S:
        raise Refused("invalid", "The end is not possible", "it must be to come, and within ten years", field="until" if ask.for_s is None else "for_s")
    return until


def delete(account: Account, ident: str, forward: str) -> Forward:
    """Close a forward of an instance. Raises Refused(not_found)."""
    with memory.atomic():
        row = scope.one(account, Forward, Verb.WRITE, pk=forward, instance=ident)
        _end([row], "forward closed")
    return row


def expire() -> int:
    """Close those whose time is over; how many."""
    with memory.atomic():
        rows = list(Forward.objects.filter(until__gt=0, until__lte=clock.now()).select_related("instance").order_by("until")[:_ENDED_AT_ONCE])
        if rows:
            _end(rows, "forward ended")
    return len(rows)


def _end(rows: Sequence[Forward], what: str) -> None:
    Forward.objects.filter(pk__in=[row.pk for row in rows]).delete()
    for row in rows:
        events.record("instance", row.instance_id, what, owner_id=row.instance.owner_id, forward=row.pk, port=row.guest_port, protocol=row.protocol)
    access.changed({row.instance_id: row.instance for row in rows}.values(), must=False)


def learned(report: AccessFacts) -> None:
    """Where its cluster says the forwards of an instance are reached. In a transaction of the caller's."""
    said = Access.objects.filter(instance=report.instance).values_list("number", flat=True).first() or 0
    where = {fact.id: fact for fact in report.forwards}
    for row in Forward.objects.filter(instance=report.instance).select_related("instance"):
        fact = where.get(row.pk)
        if fact is None and report.number < said:
            continue  # it may be younger than what the cluster speaks of
        trouble = report.error.model_dump() if report.error and fact is None else None
        at = (fact.address, fact.port) if fact else ("", 0)
        if (row.address, row.port, row.trouble) == (*at, trouble):
            continue
        Forward.objects.filter(pk=row.pk).update(address=at[0], port=at[1], trouble=trouble)
        if (row.address, row.port) == at and not access.is_news(trouble, row.trouble):
            continue
        what = "forward open" if fact else "forward not open"
        events.record("instance", report.instance, what, owner_id=row.instance.owner_id, forward=row.pk, port=row.guest_port, protocol=row.protocol)


def unplaced(row: Instance) -> None:
    """An instance lost its place: nothing leads to it until it has one again."""
    Forward.objects.filter(instance=row).update(address="", port=0, trouble=None)


def forget(row: Instance) -> None:
    """An instance is no more."""
    Forward.objects.filter(instance=row).delete()
