"""The only reader of the wall clock and the only sleeper; replaceable as a whole by a test or the simulator."""

from __future__ import annotations

import datetime as dt
import threading
import time as _time


class Clock:
    """Wall time for stamps, monotonic time for waiting."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return _time.time()

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return _time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, without burning the processor."""
        _time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for ``event`` at most ``seconds``; whether it is set."""
        return event.wait(seconds)


class ManualClock(Clock):
    """A clock that moves only when told; sleeping moves it."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += max(seconds, 0.0)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._now += max(seconds, 0.0)
        return event.is_set()


_clock: Clock = Clock()


def use(clock: Clock) -> Clock:
    """Put ``clock`` in place of the current one; returns the one that was there."""
    global _clock  # the one seam through which time enters the program
    before, _clock = _clock, clock
    return before


def now() -> float:
    """Seconds since 1970, UTC."""
    return _clock.now()


def monotonic() -> float:
    """Seconds that never jump."""
    return _clock.monotonic()


def sleep(seconds: float) -> None:
    """Wait."""
    _clock.sleep(seconds)


def wait(event: threading.Event, seconds: float) -> bool:
    """Wait for an event at most ``seconds``."""
    return _clock.wait(event, seconds)


def utc(stamp: float | None = None) -> dt.datetime:
    """``stamp`` (default now) as an aware datetime."""
    return dt.datetime.fromtimestamp(now() if stamp is None else stamp, dt.UTC)


def rfc3339(stamp: float | None = None) -> str:
    """``stamp`` (default now) as RFC 3339 text in UTC."""
    return utc(stamp).isoformat(timespec="milliseconds").replace("+00:00", "Z")
