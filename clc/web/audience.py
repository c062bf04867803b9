"""Who listens and what they may hear: the questions the live process asks the database and the board."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.db.models import Max, Q
from django.http import HttpRequest

from clc.services import explain, pictures, screens, sessions, tokens
from clc.web.rest import admit
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import TaskState
from luhyaapi.errors import Refused
from luhyadb.models import Account, Event, ScreenTicket, Task

_EVENTS_AT_ONCE = 500
_TASKS_AT_ONCE = 500


def account_of(headers: Mapping[str, str], *, reads: bool = True) -> Account | None:
    """The account a request's cookie or bearer token stands for, if that is good for it now; ``reads``: for nothing else than reading."""
    try:
        return admitted(headers, reads=reads)
    except Refused:
        return None


def admitted(headers: Mapping[str, str], *, reads: bool = True) -> Account:
    """As :func:`account_of`. Raises Refused(unauthenticated | password_change | forbidden). ``headers``: lower-case names."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    token = tokens.known(text.strip()) if scheme.lower() == "bearer" else None
    account = token.account if token else _by_cookie(headers.get("cookie", "")) if scheme.lower() != "bearer" else None
    if not isinstance(account, Account) or not account.is_active:
        raise Refused("unauthenticated", "Sign in first")
    admit(account, token, reads=reads)
    return account


def _by_cookie(header: str) -> object:
    try:
        key = SimpleCookie(header).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return None
    if key is None:
        return None
    request = HttpRequest()
    request.session = sessions.SessionStore(key.value)
    return get_user(request)


def still(headers: Mapping[str, str], instance: str) -> None:
    """Whether who asked for an open line to an instance may have it still. Raises Refused(unauthenticated | forbidden)."""
    account = account_of(headers, reads=False)
    if account is None:
        raise Refused("unauthenticated", "Signed out")
    screens.check(account, instance)


Told = dict[int, dict[str, Any]]
"""What is told, by the number of each account that hears it."""


def told(events: Iterable[Event], listening: Collection[Account]) -> list[tuple[Event, Told]]:
    """Events with what each of some accounts hears of them: administrators all, others what is theirs and what they may see.

    One question for each thing that something happened to, however many listen.
    """
    known = list(events)
    seers = _seers(((e.noun, e.subject) for e in known), listening)
    return [(event, {one.pk: _form(event, one) for one in _hearers(listening, event.owner_id, seers[event.noun, event.subject])}) for event in known]


def _form(event: Event, hearer: Account) -> dict[str, Any]:
    whole = hearer.is_admin or event.owner_id == hearer.pk or event.noun != "image"
    fields = event.fields if whole else {k: v for k, v in event.fields.items() if k == "version"}
    return {
        "type": event.noun, "id": event.subject, "what": event.what, "task": event.task if whole else "",
        "at": clock.rfc3339(event.at), "fields": fields,
    }


def _hearers(listening: Collection[Account], owner: int | None, seers: frozenset[int]) -> list[Account]:
    return [one for one in listening if one.is_active and (one.is_admin or one.pk == owner or one.pk in seers)]


def _seers(things: Iterable[tuple[str, str]], listening: Collection[Account]) -> dict[tuple[str, str], frozenset[int]]:
    plain = [one.pk for one in listening if not one.is_admin]
    return {thing: explain.seers(*thing, plain) for thing in set(things)}


def newest() -> int:
    """The number of the last event; 0 before the first."""
    return Event.objects.order_by("-id").values_list("id", flat=True).first() or 0


def events_after(after: int, upto: int | None = None) -> list[Event]:
    """The next events, oldest first, at most 500."""
    rows = Event.objects.filter(id__gt=after).order_by("id")
    return list((rows if upto is None else rows.filter(id__lte=upto))[:_EVENTS_AT_ONCE])


def late_events(numbers: list[int]) -> list[Event]:
    """Events whose transaction ended after one with a higher number."""
    return list(Event.objects.filter(id__in=numbers).order_by("id")) if numbers else []


@dataclass(frozen=True)
class Changed:
    """Whose sign-ins or rights may be others since then; ``everybody``: rights of more people than one were changed."""

    upto: int
    accounts: frozenset[int | None] = frozenset()
    everybody: bool = False


def changed(after: int) -> Changed:
    """What was told since an event that may end an open line."""
    rows = Event.objects.filter(id__gt=after)
    found = list(rows.filter(Q(noun__in=["user", "group", "access-role"]) | Q(noun="instance", what="shared no more")).values_list("noun", "owner_id"))
    return Changed(rows.aggregate(last=Max("id"))["last"] or after, frozenset(owner for noun, owner in found if noun == "user"),
                   any(noun != "user" for noun, _ in found))


def progress(listening: Collection[Account]) -> list[tuple[dict[str, Any], frozenset[int]]]:
    """How far each running task is, with the accounts that hear it."""
    going = [TaskState.RUNNING, TaskState.CANCELLING]
    rows = {t.pk: t for t in Task.objects.filter(state__in=going).only("owner_id", "phase")[:_TASKS_AT_ONCE]}
    found = pictures.board().read([f"task:{ident}" for ident in rows])
    moving = {ident: picture for key, picture in found.items()
              if (ident := key.removeprefix("task:")) in rows and pictures.is_of_step(picture, rows[ident].phase)}
    names = ("percent", "phase", "bytes_done", "bytes_total")
    seers = _seers((("task", ident) for ident in moving), listening)
    return [
        ({"type": "task", "id": ident, "what": "progress", "fields": {n: picture.get(n) for n in names}},
         frozenset(one.pk for one in _hearers(listening, rows[ident].owner_id, seers["task", ident])))
        for ident, picture in moving.items()
    ]


def expected_stream(secret: str) -> str | None:
    """The hash of a stream's secret when a look that is not too old waits for it."""
    hashed = screens.hashed(secret)
    fresh = ScreenTicket.objects.filter(stream=hashed, expires_at__gt=clock.now())
    return hashed if fresh.exists() else None
