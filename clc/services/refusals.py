"""Lines about what was not done: sign-ins that failed, and what signed-in people may not do. Bounded: nobody fills the table by asking."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from clc.services import events, origins
from luhyaapi import clock, log
from luhyaapi.contracts.vocabulary import Result
from luhyaapi.errors import Trouble
from luhyadb import memory
from luhyadb.models import Account

OF_ONE, OF_ALL, WITHIN_S = 5, 20, 60.0
_REMEMBERED = 1000
_log = log.get(__name__)


class Bound:
    """How many lines there were within the last minute, in all and of each who asks; and how many were left out."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, list[float]] = OrderedDict()
        self._left_out = 0
        self._lock = threading.Lock()

    def left_out(self, key: str) -> int | None:
        """For one more line of ``key``: how many were left out before it; None when it is left out itself."""
        now = clock.monotonic()
        with self._lock:
            recent = {name: [at for at in self._lines.get(name, ()) if now - at < WITHIN_S] for name in (key, "")}
            if len(recent[key]) >= OF_ONE or len(recent[""]) >= OF_ALL:
                self._left_out += 1
                return None
            for name, lines in recent.items():
                self._lines[name] = [*lines, now]
                self._lines.move_to_end(name)
            while len(self._lines) > _REMEMBERED:
                self._lines.popitem(last=False)
            left_out, self._left_out = self._left_out, 0
        return left_out


bound = Bound()


def sign_in(name: str) -> None:
    """A sign-in failed. The name is kept where there is such an account: else it may be a password, typed into the wrong field."""
    account = Account.objects.filter(username__iexact=name, is_active=True).first()
    _line(account, "sign-in refused", f"from {origins.current().place}", {"name": account.username} if account else {})


def without_place(directory: str, error: Trouble) -> None:
    """Somebody a directory knows was not let in."""
    _line(None, "sign-in refused", f"from {origins.current().place}", {"directory": directory, "why": error.why[:200]})


def forbidden(address: str, error: Trouble) -> None:
    """Somebody who is signed in asked for what he may not do; nobody's asking is no line."""
    account = origins.current().asker().account
    if account is not None:
        _line(account, "not permitted", f"by {account.pk}", {"address": address[:200], "why": error.what})


def _line(account: Account | None, what: str, key: str, fields: dict[str, Any]) -> None:
    left_out = bound.left_out(key)
    if left_out is None:
        return
    if left_out:
        fields["left_out"] = left_out
    try:
        with memory.atomic():
            events.record("session", str(account.pk) if account else "", what, owner=account, result=Result.REFUSED, **fields)
    except memory.AWAY as e:
        # the answer is no in any case
        _log.warning("a refusal could not be recorded", why=str(e)[:200])
