"""Fetching a file from a URL that a user gave: nothing of it is trusted, and it leads to no host the rules do not let."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luhyaapi import log
from luhyaapi.errors import Refused, Unavailable, of
from luhyaapi.transfer.base import Cancelled, Progress, never, no_progress
from luhyaapi.transfer.fetch import places
from luhyaapi.transfer.fetch.half import Half
from luhyaapi.transfer.fetch.places import Place
from luhyaapi.transfer.fetch.request import Request, Resolve
from luhyaapi.transfer.fetch.rules import Rules
from luhyaapi.transfer.fetch.watch import Watch

_log = log.get(__name__)
_TRIES = 5
_WORTH_A_TRY = 1024 * 1024
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class Fetched:
    """What came: ``size`` in bytes, ``sha256`` in hexadecimal digits, a harmless file ``name`` or "", and from where.

    ``final_url`` is after all redirects, without credentials and without the query, which often is one.
    """

    size: int
    sha256: str
    name: str
    final_url: str


def fetch_url(
    url: str, target: Path, *, rules: Rules, cancelled: Cancelled = never, on_progress: Progress = no_progress,
    resolve: Resolve | None = None,
) -> Fetched:
    """Have the file at ``url`` (http, https or ftp) at ``target``, whose name, with ``.part`` behind it too, is the caller's alone.

    It has its name when it is complete and on the disk; what was there before is replaced then. ``on_progress`` gets (bytes done,
    bytes in all or -1). Both it and ``cancelled``, which may raise themselves, are called ten times a second while bytes come, once a second while none do.
    ``resolve`` answers for names instead of the system. Each connection is checked where it is opened, so
    it does not matter who answers, what, or how often. After a cut it goes on where it was if a validator proves that the file
    is the same, from the start otherwise; it gives up after 5 cuts with less than 1 MiB between them.

    Raises Refused(invalid) for a URL, redirect or answer that breaks a rule, Refused(forbidden) for an address that is not
    allowed or a side that does not prove its name, Refused(not_found), Refused(quota) for too many bytes, Refused(cancelled),
    Failed(timeout), Failed(digest) for other bytes than asked for, Failed(disk_full), Failed(missing), Unavailable(transfer).
    Only after Unavailable, or a death, a half file may stay, which the next call goes on with; :func:`discard` removes it.
    """
    half = Half(target, rules.largest_bytes)
    try:
        with half:
            place, name = _Fetch(half, rules, Watch(rules, cancelled, on_progress), resolve).run(url)
            on_progress(half.position, half.position)
            return Fetched(half.position, half.finish(), name, place.shown)
    except OSError as error:
        raise of(error) from error


def is_begun(target: Path) -> bool:
    """Whether an unfinished fetch to ``target`` left something that the next one can go on with."""
    return Half(target, 0).is_noted()


def discard(target: Path) -> None:
    """Remove what an unfinished fetch to ``target`` left."""
    Half(target, 0).drop()


class _Fetch:
    def __init__(self, half: Half, rules: Rules, watch: Watch, resolve: Resolve | None) -> None:
        self._half, self._rules, self._watch, self._resolve = half, rules, watch, resolve

    def run(self, url: str) -> tuple[Place, str]:
        """Have all bytes in the half file; where they came from, and the name. Raises as :func:`fetch_url` does."""
        first = places.parse(url, self._rules)
        self._half.open(self._watch.look)
        tries, pause, reached = 1, _FIRST_PAUSE_S, self._half.furthest
        while True:
            try:
                return self._follow(first)
            except Unavailable as cut:
                if cut.code == "interrupted":
                    raise
                if self._half.furthest - reached >= _WORTH_A_TRY:
                    tries, pause, reached = 0, _FIRST_PAUSE_S, self._half.furthest
                if tries >= _TRIES:
                    raise Unavailable("transfer", "The file did not arrive", cut.why or cut.what) from cut
                # the host alone: a path may be a secret
                _log.info("fetch cut", host=first.host, position=self._half.position, why=str(cut))
                self._watch.pause(pause)
                tries, pause = tries + 1, min(pause * 2, _LONGEST_PAUSE_S)

    def _follow(self, place: Place) -> tuple[Place, str]:
        for _ in range(self._rules.redirects + 1):
            request = Request(place, self._rules, self._half, self._watch, self._resolve)
            location = request.run()
            if not location:
                return place, request.name
            place = places.redirected(place, location, self._rules)
        raise Refused("invalid", "That URL may not be fetched", f"it redirects more than {self._rules.redirects} times")
