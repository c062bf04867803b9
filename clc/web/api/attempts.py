"""Guessing passwords is slow: ten failures within a minute for one name from one address, sixty from it for all names."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

from rest_framework.exceptions import Throttled

from luhyaapi import clock
from luhyaapi.errors import Refused, Unavailable

AT_MOST, AT_MOST_OF_ADDRESS, WITHIN_S = 10, 60, 60.0
_REMEMBERED = 10_000
_TURNS = threading.BoundedSemaphore(4)
"""One check of a password takes 100 MiB for a moment: nobody shall fill the memory by asking."""
_TURN_WITHIN_S = 5.0


class Attempts:
    """Failures by who tries (address and name), in this process. One that is under way counts, so that none run ahead."""

    def __init__(self, turns: threading.BoundedSemaphore = _TURNS) -> None:
        self._turns = turns
        self._failed: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, who: tuple[str, str]) -> Iterator[None]:
        """Around one attempt; a Refused inside counts as a failure. Raises Throttled after too many, Unavailable(busy)."""
        whole = (who[0], "")
        now = clock.monotonic()
        with self._lock:
            for key, limit in ((who, AT_MOST), (whole, AT_MOST_OF_ADDRESS)):
                recent = [at for at in self._failed.get(key, ()) if now - at < WITHIN_S]
                if len(recent) >= limit:
                    raise Throttled(WITHIN_S, f"{limit} attempts failed within a minute.")
                self._failed[key] = recent
            self._failed[who].append(now)
            if who != whole:
                self._failed[whole].append(now)
            self._forget_oldest(who, whole)
        try:
            with self._turn():
                yield
        except Refused:
            raise
        except BaseException:
            self._take_back(now, who, whole)
            raise
        with self._lock:
            self._failed.pop(who, None)
        self._take_back(now, whole)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=_TURN_WITHIN_S):
            raise Unavailable("busy", "Too many sign in at the same moment")
        try:
            yield
        finally:
            self._turns.release()

    def _forget_oldest(self, *fresh: tuple[str, str]) -> None:
        for key in fresh:
            self._failed.move_to_end(key)
        while len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)

    def _take_back(self, at: float, *keys: tuple[str, str]) -> None:
        with self._lock:
            for key in keys:
                with contextlib.suppress(KeyError, ValueError):
                    self._failed[key].remove(at)
