"""Guessing is slow: attempts are counted in the database, by name and address, and wait longer and longer: the only writer of Guess."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import math
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from clc.services import events, grants
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Verb
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, Guess

KNOWN_S = 30 * 24 * 3600.0
"""Where somebody signed in so lately, guesses from elsewhere do not make them wait."""
_KEPT_S = 24 * 3600.0
_SHORT_S = 60.0
_DOUBLED_AT_MOST = 20
Key = tuple[str, str]


@dataclass(frozen=True)
class Bound:
    """``free`` attempts without a wait, of which one is forgotten every ``drain_s``; the longest wait after that."""

    free: int
    drain_s: float
    longest_s: float

    def wait_s(self, count: float, first_s: float) -> float:
        """How long the next attempt waits after so many."""
        over = int(count + 0.5) - self.free
        return 0.0 if over < 0 else min(self.longest_s, first_s * 2 ** min(over, _DOUBLED_AT_MOST))


def digest(name: str) -> str:
    """What is kept of a name that somebody typed."""
    return hashlib.sha256(name.casefold().encode("utf-8", "surrogatepass")).hexdigest()


def place(address: str) -> str:
    """Whose address it is: of IPv6 the whole /64, for all of it is one guest's to choose from."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:45] or "-"
    return str(known) if known.version == 4 else str(ipaddress.ip_network((known, 64), strict=False))


def _bounds(name: str, address: str) -> dict[Key, Bound]:
    limits = settings.EDUCLOUD.accounts
    short = min(_SHORT_S, limits.longest_wait_s)
    return {
        (name, address): Bound(limits.attempts, 600, limits.longest_wait_s),
        ("", address): Bound(6 * limits.attempts, 1, short),
        (name, ""): Bound(10 * limits.attempts, 60, short),
    }


@contextlib.contextmanager
def attempt(name: str, address: str) -> Iterator[None]:
    """Around one attempt; a Refused(unauthenticated) inside was a wrong one. Raises Refused(locked_out) when it is too early for one.

    It counts before it is tried, so that none run ahead of the count.
    """
    pair = digest(name), place(address)
    counted = _begin(*pair)
    try:
        yield
    except Refused as error:
        if error.code != "unauthenticated":
            _take_back(counted)
        raise
    except BaseException:
        _take_back(counted)
        raise
    with memory.atomic():
        _take_back({key: bound for key, bound in counted.items() if key != pair})
        Guess.objects.filter(name=pair[0], address=pair[1]).update(count=0, until=0, good_at=clock.now())


def _begin(name: str, address: str) -> dict[Key, Bound]:
    now, first_s = clock.now(), settings.EDUCLOUD.accounts.wait_s
    bounds = _bounds(name, address)
    _refuse_early(bounds, _rows(bounds), now)  # most of a flood ends here, and writes nothing
    return memory.unlocked(lambda: _count(bounds, now, first_s))


def _count(bounds: dict[Key, Bound], now: float, first_s: float) -> dict[Key, Bound]:
    for key in bounds:  # outside of the transaction: see the chain of the audit
        Guess.objects.get_or_create(name=key[0], address=key[1])
    with memory.atomic():
        rows = _rows(bounds, lock=True)
        counted = _refuse_early(bounds, rows, now)
        for key, bound in counted.items():
            row = rows[key]
            row.count = max(0.0, row.count - (now - row.at) / bound.drain_s) + 1
            row.at, row.until = now, now + bound.wait_s(row.count, first_s)
            row.save(update_fields=["count", "at", "until"])
    return counted


def _rows(bounds: dict[Key, Bound], *, lock: bool = False) -> dict[Key, Guess]:
    rows = Guess.objects.filter(name__in={k[0] for k in bounds}, address__in={k[1] for k in bounds})
    rows = rows.order_by("pk").select_for_update() if lock else rows
    return {(row.name, row.address): row for row in rows}


def _refuse_early(bounds: dict[Key, Bound], rows: dict[Key, Guess], now: float) -> dict[Key, Bound]:
    """The counts that matter to this attempt."""
    pair = next(iter(bounds))
    is_known = pair in rows and rows[pair].good_at > now - KNOWN_S
    counted = {key: bound for key, bound in bounds.items() if key[1] or not is_known}
    until = max((rows[key].until for key in counted if key in rows), default=0.0)
    if until > now:
        raise locked(until)
    return counted


def _take_back(counted: dict[Key, Bound]) -> None:
    memory.unlocked(lambda: _taken_back(counted))


def _taken_back(counted: dict[Key, Bound]) -> None:
    with memory.atomic():
        for key, row in _rows(counted, lock=True).items():
            if key in counted and row.count >= 1:
                row.count -= 1
                row.until = row.until if counted[key].wait_s(row.count, 1) else 0
                row.save(update_fields=["count", "until"])


def locked(until: float) -> Refused:
    """The error of an attempt that came too early; it says when the next is possible, and nothing about whom it was for."""
    return Refused("locked_out", "Too many wrong attempts", f"the next one is possible at {clock.rfc3339(math.ceil(until))}",
                   wait_s=math.ceil(until - clock.now()))


def until(account: Account) -> float:
    """Until when somebody somewhere cannot sign in to this account; 0: nobody has to wait."""
    waits = Guess.objects.filter(name=digest(account.username), until__gt=clock.now())
    return max(waits.values_list("until", flat=True), default=0.0)


def lift(by: Account, account: Account) -> None:
    """Have nobody wait for this account any more. Raises Refused(forbidden)."""
    grants.check_managed(by, account, Verb.WRITE)
    with memory.atomic():
        forgive(account)
        events.record("user", str(account.pk), "lock lifted", owner=account, name=account.username, actor=by)


def forgive(account: Account) -> None:
    """Forget the wrong attempts for an account."""
    Guess.objects.filter(name=digest(account.username)).update(count=0, until=0)


def tidy() -> None:
    """Forget counts that are long empty."""
    now = clock.now()
    Guess.objects.filter(at__lt=now - _KEPT_S, good_at__lt=now - KNOWN_S).delete()
