"""Who listens and what they may hear: the questions the live process asks the database and the board."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.db.models import Max
from django.http import HttpRequest

from clc.services import pictures, screens, sessions, tokens
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


def may_see_event(account: Account, event: Event) -> bool:
    """An administrator sees all; others what is theirs, and when an image is published or withdrawn."""
    if not account.is_active:
        return False
    return bool(account.is_admin or event.owner_id == account.pk or _is_public(event))


def _is_public(event: Event) -> bool:
    return bool(event.noun == "image" and event.what.endswith((" published", " retired")))


def told(account: Account, event: Event) -> dict[str, Any] | None:
    """An event as an account hears it; None when it may not."""
    if not may_see_event(account, event):
        return None
    own = account.is_admin or event.owner_id == account.pk
    fields = event.fields if own else {k: v for k, v in event.fields.items() if k == "version"}
    return {
        "type": event.noun, "id": event.subject, "what": event.what, "task": event.task if own else "",
        "at": clock.rfc3339(event.at), "fields": fields,
    }


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


def changed_sign_ins(after: int) -> tuple[int, set[int | None]]:
    """The number of the last event, and the accounts of which something was told since: a sign-in of theirs may have ended."""
    rows = Event.objects.filter(id__gt=after)
    return rows.aggregate(last=Max("id"))["last"] or after, set(rows.filter(noun="user").values_list("owner_id", flat=True))


def progress() -> list[tuple[int | None, dict[str, Any]]]:
    """How far each running task is, with its owner's number."""
    going = [TaskState.RUNNING, TaskState.CANCELLING]
    rows = {t.pk: t for t in Task.objects.filter(state__in=going).only("owner_id", "phase")[:_TASKS_AT_ONCE]}
    found = pictures.board().read([f"task:{ident}" for ident in rows])
    names = ("percent", "phase", "bytes_done", "bytes_total")
    return [
        (rows[ident].owner_id, {"type": "task", "id": ident, "what": "progress", "fields": {n: picture.get(n) for n in names}})
        for key, picture in found.items()
        if (ident := key.removeprefix("task:")) in rows and pictures.is_of_step(picture, rows[ident].phase)
    ]


def expected_stream(secret: str) -> str | None:
    """The hash of a stream's secret when a look that is not too old waits for it."""
    hashed = screens.hashed(secret)
    fresh = ScreenTicket.objects.filter(stream=hashed, expires_at__gt=clock.now())
    return hashed if fresh.exists() else None
