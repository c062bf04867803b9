"""``time``: the clock of a test, which moves only when told or when somebody sleeps."""

from collections.abc import Iterator

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock


@pytest.fixture
def time() -> Iterator[ManualClock]:
    mine = ManualClock()
    before = clock.use(mine)
    yield mine
    clock.use(before)
