"""What is read of the record of changes: which events, as pictures, and as an export with its trailer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from django.db.models import Q, QuerySet

from clc.services import audit
from luhyaapi import chain, clock
from luhyaapi.chain import Head
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, Event, GroupAbove, Task

_AT_ONCE = 1000
_TASKS = 1000
"""The newest tasks about one thing that are told with it."""
FORMS = ("jsonl", "csv")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("number", "at", "actor", "owner", "via", "origin", "token", "noun", "subject", "what", "result", "before", "after", "fields", "host", "task",
            "request", "digest")


@dataclass(frozen=True)
class Asked:
    """Which events; nothing said: all.

    ``subject``: what it is about, by its id, with the tasks that are about it; ``person``: who did it, or whose it is;
    ``group``: what is of its people, or of those below it.

    ``since`` and ``until``: seconds since 1970.
    """

    subject: str = ""
    noun: str = ""
    person: str = ""
    actor: str = ""
    task: str = ""
    via: str = ""
    result: str = ""
    group: str = ""
    since: float | None = None
    until: float | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self == Asked()

    def said(self) -> dict[str, Any]:
        """What was asked for, as the trailer says it."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in ("", None)}


def moment(text: str, field: str) -> float:
    """A time of a filter, as a date or RFC 3339. Raises Refused(invalid)."""
    from django.utils import timezone
    from django.utils.dateparse import parse_date, parse_datetime

    try:
        at = parse_datetime(text)
        if at is None and (day := parse_date(text)) is not None:
            at = timezone.datetime(day.year, day.month, day.day)
        if at is None:
            raise ValueError(text)
        return (timezone.make_aware(at) if timezone.is_naive(at) else at).timestamp()
    except (ValueError, OverflowError) as e:
        raise Refused("invalid", "The time cannot be read", f"{text[:40]!r}: give 2030-01-31 or 2030-01-31T08:00:00Z", field=field) from e


def found(account: Account, asked: Asked) -> QuerySet[Event]:
    """The events somebody may see, of those that are asked for. Raises Refused(not_found | forbidden | invalid) for a group."""
    rows = _of_group(account, asked.group) if asked.group else scope.visible_to(account, Event)
    same = {name: value for name in ("noun", "task", "via", "result") if (value := getattr(asked, name))}
    if asked.subject:
        tasks = Task.objects.filter(subject=asked.subject).order_by("-created_at").values_list("pk", flat=True)[:_TASKS]
        rows = rows.filter(subject__in=[asked.subject, *tasks])
    if asked.person:
        whose = _accounts(asked.person)
        rows = rows.filter(Q(actor__in=whose) | Q(owner__in=whose))
    if asked.actor:
        rows = rows.filter(actor__in=_accounts(asked.actor))
    if asked.since is not None:
        rows = rows.filter(at__gte=asked.since)
    if asked.until is not None:
        rows = rows.filter(at__lt=asked.until)
    return rows.filter(**same)


def _of_group(account: Account, text: str) -> QuerySet[Event]:
    """What was done with what is of people in a group or below it, and with these groups, for who may see its people."""
    from clc.services import groups

    group = groups.resolve(account, text)
    scope.require(account, Kind.ACCOUNT, Verb.READ, group.pk)
    within = GroupAbove.objects.filter(above=group).values("group")
    return Event.objects.filter(Q(owner__group__in=within) | Q(subject__in=within))


def _accounts(name: str) -> list[int]:
    """The accounts of that name, also those that were deleted under it."""
    from clc.services import people

    named = Account.objects.filter(Q(username__iexact=name) | Q(username__istartswith=f"{name}{people.GONE}"))
    return list(named.values_list("pk", flat=True))


def picture(event: Event, viewer: Account) -> dict[str, Any]:
    """An event with who did it. From where and by what token others came, only administrators are told."""
    told = audit.line(event) | {"id": event.pk, "owner": plain(event.owner), "digest": event.digest}
    if not viewer.is_admin and event.actor_id != viewer.pk:
        told |= {"origin": "", "token": "", "request": ""}
    return told


def plain(account: Account | None) -> str:
    """The name of an account, as it was before it was deleted."""
    from clc.services import people

    return account.username.partition(people.GONE)[0] if account else ""


def standing() -> dict[str, Any]:
    """How the chain stands: its head, the last line that retention removed, and how many events are not sealed yet."""
    head = audit.head()
    return {"head": str(head), "number": head.number, "digest": head.digest, "removed": audit.anchor().number, "unsealed": audit.unsealed().count()}


def export(account: Account, asked: Asked, form: str = "jsonl") -> Iterator[str]:
    """The sealed lines an administrator asks for, as JSON lines or CSV, in pieces; the trailer comes last. Raises Refused(forbidden | invalid)."""
    scope.require_admin(account)
    if form not in FORMS:
        raise Refused("invalid", "The form is not possible", f"give {' or '.join(FORMS)}, not {form[:20]!r}", field="form")
    found(account, asked)  # a group that is not there is told before the first byte
    head = audit.head()
    trailer = {
        "head": str(head), "whole": asked.is_all, "asked": asked.said(), "removed": str(audit.anchor()), "unsealed": audit.unsealed().count(),
        "at": clock.rfc3339(),
    }
    return _as_csv(account, asked, head) if form == "csv" else _as_json(account, asked, head, trailer)


def _as_json(account: Account, asked: Asked, head: Head, trailer: Mapping[str, Any]) -> Iterator[str]:
    count = 0
    for rows, before in _batches(account, asked, head):
        count += len(rows)
        yield "".join(_text(audit.line(row) | {"previous": before.get(row.number - 1, ""), "digest": row.digest}) for row in rows)
    yield _text({**trailer, "lines": count})


def _text(form: Mapping[str, Any]) -> str:
    return chain.canonical(form).decode() + "\n"


def _as_csv(account: Account, asked: Asked, head: Head) -> Iterator[str]:
    yield "\N{BYTE ORDER MARK}" + _rows_as_csv([_COLUMNS])
    names = {each.pk: plain(each) for each in Account.objects.only("username")}
    for rows, _ in _batches(account, asked, head):
        yield _rows_as_csv(_cells(audit.line(row) | {"owner": names.get(row.owner_id, ""), "digest": row.digest}) for row in rows)
    yield _rows_as_csv([("head", str(head))])


def _cells(line: Mapping[str, Any]) -> list[str]:
    told = (json.dumps(v, ensure_ascii=False, sort_keys=True) if isinstance(v := line[name], dict) else str(v) for name in _COLUMNS)
    return ["" if cell == "{}" else harmless(cell) for cell in told]


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _rows_as_csv(rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _batches(account: Account, asked: Asked, head: Head) -> Iterator[tuple[list[Event], dict[int, str]]]:
    """Sealed events in the order of the chain, and digests by number: of each one's forerunner, as far as it is there."""
    after = 0
    while batch := _batch(account, asked, after, head.number):
        yield batch
        after = batch[0][-1].number


def _batch(account: Account, asked: Asked, after: int, upto: int) -> tuple[list[Event], dict[int, str]] | None:
    with memory.thread_of("clc"):
        rows = list(found(account, asked).filter(number__gt=after, number__lte=upto).order_by("number")[:_AT_ONCE])
        if not rows:
            return None
        known = {row.number: row.digest for row in rows}
        lacking = [row.number - 1 for row in rows if row.number - 1 not in known]
        anchor = audit.anchor()
        known |= {0: chain.START, anchor.number: anchor.digest} | dict(Event.objects.filter(number__in=lacking).values_list("number", "digest"))
        return rows, known
