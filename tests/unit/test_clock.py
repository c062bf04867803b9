"""The one clock: replaceable as a whole, and by hand it moves only when told."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from luhyaapi import clock
from luhyaapi.clock import Clock, ManualClock


def test_time_by_hand_moves_when_somebody_sleeps() -> None:
    mine = ManualClock(1000.0)
    before = clock.use(mine)
    try:
        assert clock.now() == clock.monotonic() == 1000.0
        clock.sleep(5)
        clock.sleep(-5)
        assert clock.now() == 1005.0
        event = threading.Event()
        assert clock.wait(event, 60) is False
        event.set()
        assert clock.wait(event, 0) is True
        assert clock.now() == 1065.0
    finally:
        assert clock.use(before) is mine


def test_the_real_clock_moves_by_itself() -> None:
    real = Clock()
    first = real.monotonic()
    real.sleep(0.001)
    assert real.monotonic() > first
    assert real.wait(threading.Event(), 0.001) is False


@given(st.integers(0, 4_000_000_000))
def test_a_stamp_is_written_in_utc(stamp: int) -> None:
    text = clock.rfc3339(stamp)
    assert text.endswith(".000Z")
    assert clock.utc(stamp).timestamp() == stamp
    assert clock.utc(stamp).utcoffset().total_seconds() == 0  # type: ignore[union-attr]


def test_now_is_the_default() -> None:
    before = clock.use(ManualClock(0))
    try:
        assert clock.rfc3339() == "1970-01-01T00:00:00.000Z"
    finally:
        clock.use(before)
