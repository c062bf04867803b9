"""Moments as people write them."""

from __future__ import annotations

import time

import pytest

from deploy.cli import moments
from luhyaapi import clock
from luhyaapi.errors import Refused


@pytest.fixture(autouse=True)
def evening(monkeypatch):
    """17:30 in Berlin, the day before its clocks go back."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    before = clock.use(clock.ManualClock(1_792_855_800.0))
    yield
    clock.use(before)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("text", "moment"), [
    ("now", None), ("18:00", "2026-10-24T16:00:00.000Z"), ("08:00", "2026-10-25T07:00:00.000Z"), ("17:30", "2026-10-25T16:30:00.000Z"),
    ("2026-10-24T20:00", "2026-10-24T18:00:00.000Z"), ("2026-10-24T20:00Z", "2026-10-24T20:00:00.000Z"), (" 7:05 ", "2026-10-25T06:05:00.000Z"),
])
def test_what_is_meant(text, moment):
    found = moments.parse(text)
    assert (found if found is None else clock.rfc3339(found)) == moment


@pytest.mark.parametrize("text", ["", "24:00", "8", "tomorrow", "08:60", "2026-13-01", "08:00:00", "99999-01-01"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(Refused) as refused:
        moments.parse(text)
    assert refused.value.code == "invalid"
