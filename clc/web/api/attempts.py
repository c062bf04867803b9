"""Guessing passwords is slow: after ten failures within a minute an address waits."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

from rest_framework.exceptions import Throttled

from luhyaapi import clock
from luhyaapi.errors import Refused

AT_MOST, WITHIN_S = 10, 60.0
_REMEMBERED = 10_000


class Attempts:
    """Failures by who tries (address and name), in this process."""

    def __init__(self) -> None:
        self._failed: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, who: tuple[str, str]) -> Iterator[None]:
        """Around one attempt; a Refused inside counts as a failure. Raises Throttled after too many."""
        with self._lock:
            recent = [at for at in self._failed.get(who, ()) if clock.monotonic() - at < WITHIN_S]
        if len(recent) >= AT_MOST:
            raise Throttled(WITHIN_S, f"{AT_MOST} attempts failed within a minute.")
        try:
            yield
        except Refused:
            with self._lock:
                self._failed[who] = [*recent, clock.monotonic()]
                self._failed.move_to_end(who)
                while len(self._failed) > _REMEMBERED:
                    self._failed.popitem(last=False)
            raise
        with self._lock:
            self._failed.pop(who, None)
