"""Who may end a fetch: the clock, a side that sends too little, and whoever asked for it."""

from __future__ import annotations

from luhyaapi import clock
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer.base import Cancelled, Progress
from luhyaapi.transfer.fetch.rules import Rules

_LEAST_RATE = 1024
_EVERY_S = 0.1


class Watch:
    """Looked at often; it asks and tells at most ten times a second."""

    def __init__(self, rules: Rules, cancelled: Cancelled, on_progress: Progress) -> None:
        self._rules, self._cancelled, self._on_progress = rules, cancelled, on_progress
        self._until = clock.monotonic() + rules.total_s
        self._least = min(_LEAST_RATE, rules.rate / 2 or _LEAST_RATE) * rules.idle_s
        self._asked = 0.0
        self._told = 0.0
        self._came = 0
        self._since = clock.monotonic()

    def connect(self) -> None:
        """A connection begins: its first ``idle_s`` begin too."""
        self._came, self._since = 0, clock.monotonic()

    def came(self, size: int) -> None:
        """So many bytes came. Raises as :meth:`look_idle` does."""
        self._came += size
        self.look_idle()

    def look(self) -> None:
        """Raises Refused(cancelled), Failed(timeout)."""
        now = clock.monotonic()
        if now - self._asked >= _EVERY_S:
            self._asked = now
            if self._cancelled():
                raise Refused("cancelled", "The fetch was cancelled")
        if now >= self._until:
            raise Failed("timeout", "The file was not fetched in time", f"{self._rules.total_s:g} s are allowed")

    def look_idle(self) -> None:
        """As :meth:`look`; raises Unavailable(transfer) when too little came for ``idle_s``."""
        self.look()
        if clock.monotonic() - self._since >= self._rules.idle_s:
            if self._came < self._least:
                raise Unavailable("transfer", "The transfer was cut", f"only {self._came} bytes came in {self._rules.idle_s:g} s")
            self.connect()

    def tell(self, done: int, total: int) -> None:
        """Tell whoever asked how far it is, unless that was just done."""
        now = clock.monotonic()
        if now - self._told >= _EVERY_S:
            self._told = now
            self._on_progress(done, total)

    def pause(self, seconds: float) -> None:
        """Wait, and look meanwhile."""
        for _ in range(max(round(seconds / _EVERY_S), 1)):
            self.look()
            clock.sleep(_EVERY_S)
