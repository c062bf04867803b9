"""Slots of a node for guests that boot: held until the guest rests, no longer than told, and by nobody who failed."""

import threading

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.conf import Hypervisor
from luhyaapi.errors import Failed, Refused, Unavailable
from nc.drivers.base import never
from nc.services.boots import LOOK_EVERY_S, RESTS_FOR_S, Boots


class Guests:
    """Processor time had or waited for, by the clock: ``share`` of one processor for each, until told that it rests."""

    def __init__(self):
        self.share = {}
        self.down = False

    def busy_s(self, instance):
        if self.down:
            raise Unavailable("hypervisor_down", "The hypervisor does not answer")
        return None if instance not in self.share else self.share[instance] * clock.monotonic()


@pytest.fixture
def hand():
    manual = ManualClock(1000.0)
    before = clock.use(manual)
    yield manual
    clock.use(before)


@pytest.fixture
def guests():
    return Guests()


@pytest.fixture
def boots(guests):
    return Boots(Hypervisor(boots=2, boot_s=20), guests.busy_s)


def boot(boots, guests, name, share=1.0):
    """How long it waited for its slot."""
    began = clock.monotonic()
    with boots.slot(name, never):
        guests.share[name] = share
        return clock.monotonic() - began


def test_what_cannot_be_measured_holds_nothing(hand, boots, guests):
    for n in range(10):
        with boots.slot(f"ins-{n}", never):
            pass
    assert hand.monotonic() == 1000.0 or boots._held == {}


def test_a_third_waits_until_one_has_had_its_time(hand, boots, guests):
    assert boot(boots, guests, "one") == boot(boots, guests, "two") == 0
    assert boot(boots, guests, "three") == pytest.approx(20, abs=LOOK_EVERY_S)


def test_a_guest_that_rests_makes_room_at_once(hand, boots, guests):
    boot(boots, guests, "one")
    boot(boots, guests, "two", share=0.1)
    assert boot(boots, guests, "three") == pytest.approx(RESTS_FOR_S, abs=LOOK_EVERY_S)


def test_a_guest_that_ended_makes_room_at_once(hand, boots, guests):
    boot(boots, guests, "one")
    boot(boots, guests, "two")
    del guests.share["one"]
    assert boot(boots, guests, "three") == 0


def test_the_same_guest_again_waits_for_nobody(hand, boots, guests):
    boot(boots, guests, "one")
    boot(boots, guests, "two")
    assert boot(boots, guests, "one") == 0


def test_a_start_that_fails_holds_nothing(hand, boots, guests):
    for n in range(5):
        with pytest.raises(Failed), boots.slot(f"ins-{n}", never):
            raise Failed("hypervisor", "It could not be started")
    assert boot(boots, guests, "one") == 0


def test_while_the_hypervisor_does_not_answer_nobody_waits_for_a_rest(hand, boots, guests):
    boot(boots, guests, "one")
    boot(boots, guests, "two")
    guests.down = True
    assert boot(boots, guests, "three") == 0


def test_who_waits_can_be_cancelled(hand, boots, guests):
    boot(boots, guests, "one")
    boot(boots, guests, "two")
    until = hand.monotonic() + 3
    with pytest.raises(Refused, match="before it booted") as e, boots.slot("three", lambda: hand.monotonic() >= until):
        pytest.fail("it booted")
    assert e.value.code == "cancelled"
    assert "three" not in boots._held


def test_one_cancelled_before_gives_its_slot_back(hand, boots, guests):
    with pytest.raises(Refused), boots.slot("one", lambda: True):
        pytest.fail("it booted")
    assert boots._held == {}


def test_never_more_at_once_than_slots(guests):
    boots, inside, most, lock = Boots(Hypervisor(boots=3), guests.busy_s), [], [0], threading.Lock()

    def one(n):
        with boots.slot(f"ins-{n}", never):
            with lock:
                inside.append(n)
                most[0] = max(most[0], len(inside))
            clock.sleep(0.005)
            with lock:
                inside.remove(n)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert most[0] == 3


def test_slots_follow_the_processors(guests):
    assert Boots(Hypervisor(), guests.busy_s)._slots >= 2
