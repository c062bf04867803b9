"""The wire in process: delivered when pumped, in order, faults only where injected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.memory import MemoryDownLink, MemoryUpLink, MemoryWire

CC, NC = "cc-00000001", "nc-00000001"


class Ends:
    """A boss and a child on one wire, and what each got."""

    def __init__(self, **kw: Any) -> None:
        self.wire = MemoryWire(**kw)
        self.down, self.up = MemoryDownLink(self.wire, CC), MemoryUpLink(self.wire, NC)
        self.orders: list[bytes] = []
        self.facts: list[tuple[str, bytes]] = []
        self.greeted = 0

    def start(self) -> Ends:
        self.down.admit(NC)
        self.down.start(self._heard)
        self.up.start(self.orders.append, self._greet)
        return self

    def _heard(self, batch: Sequence[tuple[str, bytes]]) -> list[Exception | None]:
        self.facts += batch
        return [None] * len(batch)

    def _greet(self) -> None:
        self.greeted += 1


def test_nothing_moves_before_the_pump_and_all_of_it_in_order_then() -> None:
    ends = Ends().start()
    for n in range(3):
        ends.down.command(NC, bytes([n]), control=False)
        ends.up.report(bytes([n]), durable=True)
    assert (ends.orders, ends.facts) == ([], [])
    assert ends.wire.pump() == 6
    assert ends.orders == [b"\0", b"\1", b"\2"]
    assert ends.facts == [(NC, b"\0"), (NC, b"\1"), (NC, b"\2")]
    assert ends.wire.pump() == 0
    assert ends.greeted == 1


def test_what_waits_is_kept_for_a_child_that_is_away() -> None:
    ends = Ends().start()
    ends.up.stop()
    ends.down.command(NC, b"later", control=False)
    assert ends.wire.pump() == 0
    ends.up.start(ends.orders.append, lambda: None)
    assert ends.wire.pump() == 1
    assert ends.orders == [b"later"]


def test_a_queue_nobody_made_refuses() -> None:
    ends = Ends()
    with pytest.raises(Refused) as e:
        ends.down.command(NC, b"x", control=False)
    assert e.value.code == "not_found"
    with pytest.raises(Unavailable):
        ends.up.report(b"x", durable=True)


def test_a_removed_child_has_no_queue_and_no_voice() -> None:
    ends = Ends().start()
    ends.down.command(NC, b"x", control=False)
    ends.down.remove(NC)
    assert ends.wire.pump() == 0
    with pytest.raises(Refused):
        ends.down.command(NC, b"x", control=False)
    with pytest.raises(Unavailable):
        ends.up.report(b"x", durable=True)
    ends.down.remove(NC)


def test_a_broker_that_is_away_says_so_at_both_ends() -> None:
    ends = Ends().start()
    ends.down.command(NC, b"before", control=False)
    ends.wire.down = True
    assert not ends.up.is_connected()
    assert not ends.down.is_connected()
    assert ends.wire.pump() == 0
    for post in (lambda: ends.down.command(NC, b"x", control=False), lambda: ends.up.report(b"x", durable=True)):
        with pytest.raises(Unavailable) as e:
            post()
        assert e.value.code == "broker_down"
    ends.wire.down = False
    ends.wire.pump()
    assert ends.orders == [b"before"]


def test_faults_see_direction_and_host() -> None:
    seen: list[tuple[str, str]] = []

    def fault(direction: str, host: str, message: bytes) -> list[bytes]:
        seen.append((direction, host))
        return [] if message == b"drop" else [message, message]

    ends = Ends(fault=fault).start()
    ends.down.command(NC, b"drop", control=False)
    ends.down.command(NC, b"twice", control=True)
    ends.up.report(b"up", durable=False)
    ends.wire.pump()
    assert ends.orders == [b"twice", b"twice"]
    assert ends.facts == [(NC, b"up")] * 2
    assert seen == [("down", NC), ("down", NC), ("up", NC)]


def test_answers_sent_while_delivering_arrive_once() -> None:
    ends = Ends().start()
    ends.up.start(lambda m: ends.up.report(b"re:" + m, durable=True), lambda: None)
    ends.down.command(NC, b"x", control=False)
    while ends.wire.pump():
        pass
    assert ends.facts == [(NC, b"re:x")]


def test_what_its_taker_raises_at_comes_again_in_order() -> None:
    ends = Ends().start()
    fails = iter([True, True])

    def take(message: bytes) -> None:
        if next(fails, False):
            raise OSError("the journal is away")
        ends.orders.append(message)

    ends.up.start(take, lambda: None)
    for n in range(2):
        ends.down.command(NC, bytes([n]), control=False)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            ends.wire.pump()
    assert ends.wire.pump() == 2
    assert ends.orders == [b"\0", b"\1"]


def test_whoever_pumps_is_told_that_something_waits() -> None:
    told: list[str] = []
    ends = Ends(on_post=lambda: told.append("posted")).start()
    ends.down.command(NC, b"order", control=False)
    ends.up.report(b"fact", durable=False)
    assert told == ["posted", "posted"]
    assert ends.wire.pending() == 2
    ends.wire.pump()
    assert ends.wire.pending() == 0


def test_a_taker_that_fails_holds_up_nobody_else() -> None:
    ends = Ends().start()
    failing = [OSError("disk full")]

    def take(message: bytes) -> None:
        if failing:
            raise failing.pop()
        ends.orders.append(message)

    ends.up.start(take, lambda: None)
    ends.down.command(NC, b"order", control=False)
    ends.up.report(b"fact", durable=True)
    with pytest.raises(OSError, match="disk full"):
        ends.wire.pump()
    assert (ends.orders, ends.facts) == ([], [(NC, b"fact")])
    ends.wire.pump()
    assert ends.orders == [b"order"]
