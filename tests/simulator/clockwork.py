"""Simulated time: one clock for the world, and what each role's own shows; who sleeps is late, the others are not."""

from __future__ import annotations

import threading

from luhyaapi.clock import Clock

START = 1_700_000_000.0
LENT = {"web": "clc"}
"""Whose wall clock an actor reads that is no role: the web process is on the CLC's host."""


class SimClock(Clock):
    """``actor`` is who reads it now. A wall clock may be set (``offset``); a sleeper is away until ``ahead`` of the world's time."""

    def __init__(self, start: float = START) -> None:
        self.start = start
        self.world = start
        self.actor = ""
        self.offset: dict[str, float] = {}
        self.ahead: dict[str, float] = {}

    def busy(self, actor: str) -> bool:
        """Whether it still sleeps."""
        return self.ahead.get(actor, 0.0) > self.world

    def monotonic(self) -> float:
        return max(self.world, self.ahead.get(self.actor, 0.0))

    def now(self) -> float:
        return self.monotonic() + self.offset.get(LENT.get(self.actor, self.actor), 0.0)

    def sleep(self, seconds: float) -> None:
        self.ahead[self.actor] = self.monotonic() + max(seconds, 0.0)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.sleep(seconds)
        return event.is_set()
