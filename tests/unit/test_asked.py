"""The wire is asked once for all who are about to start, one question at a time, and not again for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cc.services.asked import Asked, Card
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.specs import Nic

STRANGER = "00:11:22:33:44:55"


def nic(number: int) -> Nic:
    return Nic(mac=f"02:00:00:00:00:{number:02x}", ip=f"10.40.0.{number}")


def card(number: int) -> Card:
    return f"ins-{number:08x}", f"10.40.0.{number}"


class Wire:
    """Counts its questions; address 2 is somebody else's."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.inside = 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self, nics: tuple[Nic, ...]) -> dict[str, str]:
        self.inside += 1
        assert self.inside == 1
        self.questions.append(sorted(each.ip for each in nics))
        self.go.wait(5)
        self.inside -= 1
        return {each.ip: STRANGER for each in nics if each.ip == "10.40.0.2"}


@pytest.fixture
def hand() -> Iterator[ManualClock]:
    made = ManualClock(1_000_000.0)
    before = clock.use(made)
    yield made
    clock.use(before)


def others(asked: Asked, wire: Wire, number: int, waiting: tuple[int, ...] = ()) -> dict[str, str]:
    return asked.others({card(number): nic(number)}, lambda: {card(n): nic(n) for n in waiting}, wire)


def test_who_waits_is_asked_for_with_the_first_and_then_knows_already(hand: ManualClock) -> None:
    asked, wire = Asked(), Wire()
    assert others(asked, wire, 1, (1, 2, 3)) == {}
    assert others(asked, wire, 2, (9,)) == {"10.40.0.2": STRANGER}
    assert others(asked, wire, 3) == {}
    assert wire.questions == [["10.40.0.1", "10.40.0.2", "10.40.0.3"]]


def test_an_answer_is_good_for_half_a_minute_and_for_one_instance(hand: ManualClock) -> None:
    asked, wire = Asked(), Wire()
    others(asked, wire, 1)
    asked.others({("ins-00000009", "10.40.0.1"): nic(1)}, dict, wire)
    hand.sleep(31)
    others(asked, wire, 1)
    assert wire.questions == [["10.40.0.1"]] * 3


def test_many_at_once_ask_one_question() -> None:
    asked, wire = Asked(), Wire()
    wire.go.clear()
    everyone = tuple(range(1, 33))
    with ThreadPoolExecutor(32) as starts:
        under_way = [starts.submit(others, asked, wire, number, everyone) for number in everyone]
        wire.go.set()
        assert [number for number, each in zip(everyone, under_way, strict=True) if each.result()] == [2]
    assert len(wire.questions) == 1
