"""A guest is asked to end again and again, and has its grace and no more, whatever becomes of the asking."""

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Failed, Unavailable
from nc.drivers.base import ASK_EVERY_S, ends_politely, never


@pytest.fixture
def hand():
    manual = ManualClock(1000.0)
    before = clock.use(manual)
    yield manual
    clock.use(before)


def test_one_that_cannot_be_asked_is_deaf(hand):
    asked = []

    def ask():
        asked.append(hand.monotonic())
        raise Unavailable("hypervisor_down", "Its process does not answer")

    assert not ends_politely(ask, lambda: True, 10, never)
    assert hand.monotonic() == pytest.approx(1010)
    assert len(asked) == pytest.approx(10 / ASK_EVERY_S, abs=1)


def test_one_that_cannot_be_looked_at_is_not_taken_for_deaf(hand):
    def runs():
        raise Unavailable("hypervisor_down", "libvirt does not answer")

    with pytest.raises(Unavailable):
        ends_politely(lambda: None, runs, 10, never)


def test_a_no_to_the_asking_is_said(hand):
    def ask():
        raise Failed("hypervisor", "No")

    with pytest.raises(Failed):
        ends_politely(ask, lambda: True, 10, never)
