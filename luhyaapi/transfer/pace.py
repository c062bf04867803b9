"""How fast bytes may come: one limit for all downloads of a process together."""

from __future__ import annotations

import threading

from luhyaapi import clock


class Pace:
    """At most ``mbit`` Mbit/s; 0: any. Who waits reads nothing meanwhile, so the sender is held up by TCP itself."""

    def __init__(self, mbit: float = 0) -> None:
        self._rate = mbit * 1e6 / 8
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, size: int, stop: threading.Event) -> float:
        """Until ``size`` bytes may have come, or ``stop`` is set; how many seconds that should take."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = clock.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            seconds = self._free_at - now
        clock.wait(stop, seconds)
        return seconds
