"""The one way up: in order, nothing lost while the broker is away, doubles harmless after a crash; the loops of a role."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.commands import HostRefresh
from luhyaapi.contracts.reports import HostFacts, InstanceFacts, Outcome
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.facts import hello, host_facts
from luhyaapi.wire.memory import MemoryWire
from luhyaapi.wire.signing import open_sealed
from tests.support.tiny_role import BOSS, LEAF, Pair, pair_fixture

__all__ = ["pair_fixture"]


def _tell(pair: Pair, *numbers: int) -> None:
    for n in numbers:
        pair.leaf.report(InstanceFacts(instance=f"ins-{n:08x}", state=InstanceState.RUNNING))


def _told(pair: Pair) -> list[int]:
    pair.wire.pump()
    return [int(r.instance[4:], 16) for _, r in pair.got if isinstance(r, InstanceFacts)]


def test_reports_go_up_in_order(pair: Pair) -> None:
    _tell(pair, 1, 2, 3)
    assert pair.leaf.publish() == 3
    assert _told(pair) == [1, 2, 3]
    assert pair.leaf.publish() == 0


def test_a_broker_that_is_away_loses_nothing_and_keeps_the_order(pair: Pair) -> None:
    pair.wire.down = True
    _tell(pair, 1, 2)
    assert pair.leaf.publish() == 0
    pair.start()
    _tell(pair, 3)
    pair.wire.down = False
    assert pair.leaf.publish() == 3
    assert _told(pair) == [1, 2, 3]
    numbers = [(e.epoch, e.seq) for e, _ in pair.got]
    assert numbers == sorted(numbers), "a later life is newer"


def test_a_broker_that_goes_away_half_way_gets_the_rest_later(pair: Pair) -> None:
    _tell(pair, 1, 2, 3, 4)
    real, left = pair.wire.post_report, iter([True, True])

    def post(sender: str, message: bytes) -> None:
        if not next(left, False):
            pair.wire.down = True
        real(sender, message)

    pair.wire.post_report = post  # type: ignore[method-assign]
    assert pair.leaf.publish() == 2
    pair.wire.post_report = real  # type: ignore[method-assign]
    pair.wire.down = False
    assert pair.leaf.publish() == 2
    assert _told(pair) == [1, 2, 3, 4]


def test_a_crash_between_posting_and_confirming_only_doubles(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _tell(pair, 1, 2)

    def crash(_numbers: list[int]) -> None:
        raise SystemExit

    monkeypatch.setattr(pair.leaf.journal, "report_confirmed", crash)
    with pytest.raises(SystemExit):
        pair.leaf.publish()
    pair.start()
    pair.leaf.publish()
    assert _told(pair) == [1, 2, 1, 2]
    ids = [e.id for e, _ in pair.got]
    assert ids[:2] == ids[2:], "the same numbers: whoever applied the first passes over the second"


def test_more_reports_than_one_reading_go_up_in_one_go(pair: Pair) -> None:
    for n in range(205):
        pair.leaf.journal.put_report("s", pair.leaf.seal_report(InstanceFacts(instance=f"ins-{n:08x}", state=InstanceState.RUNNING)))
    assert pair.leaf.publish() == 205
    assert _told(pair) == list(range(205))


def test_what_may_be_lost_does_not_wait_for_the_broker(pair: Pair) -> None:
    pair.wire.down = True
    pair.leaf.report(HostFacts(host=LEAF, at=1))
    pair.wire.down = False
    assert pair.leaf.journal.counts() == (0, 0)
    pair.leaf.report(HostFacts(host=LEAF, at=2))
    pair.wire.pump()
    assert [r.at for _, r in pair.got if isinstance(r, HostFacts)] == [2]


def test_numbers_are_unique_among_threads(pair: Pair) -> None:
    made: list[Envelope] = []

    def work() -> None:
        made.extend(pair.leaf.envelope(HostFacts(host=LEAF, at=1)) for _ in range(100))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({e.seq for e in made}) == 400
    assert len({e.id for e in made}) == 400


def test_a_report_names_its_boss_and_is_signed(pair: Pair) -> None:
    sealed = pair.leaf.seal_report(HostFacts(host=LEAF, at=1), "tsk-00000001")
    envelope = open_sealed(sealed, lambda sender: pair.leaf_key.public_key() if sender == LEAF else None)
    assert (envelope.to, envelope.task, envelope.kind) == (BOSS, "tsk-00000001", "host/facts")


def test_only_the_boss_has_a_key_for_orders(pair: Pair) -> None:
    assert pair.leaf.boss_key(BOSS) is not None
    assert pair.leaf.boss_key(LEAF) is None
    assert pair.leaf.boss_key("") is None


def test_a_fault_of_the_wire_doubles_or_drops_as_told(tmp_path: Path, time: ManualClock) -> None:
    wire = MemoryWire(fault=lambda direction, _host, m: [] if direction == "down" else [m, m])
    pair = Pair(tmp_path, time, wire)
    pair.down.command(LEAF, b"lost", control=False)
    _tell(pair, 1)
    pair.leaf.publish()
    assert _told(pair) == [1, 1]
    assert pair.leaf.journal.counts() == (0, 0)


def test_the_heartbeat_and_hello_of_any_host_hold_real_numbers(pair: Pair) -> None:
    facts = host_facts(LEAF, pair.leaf.settings)
    assert 0 < facts.memory_free_mib <= facts.memory_mib
    assert 0 <= facts.disk_free_mib <= facts.disk_mib
    assert facts.cpus >= 1
    assert facts.process_mib > 0
    said = hello(LEAF, pair.leaf.shape, pair.leaf.settings)
    assert said.speaks["domain/stop"] == 1
    assert said.boot
    assert said.capacity.memory_mib > 0


def test_a_running_role_greets_carries_out_reports_and_stops(tmp_path: Path) -> None:
    """With its real loops and threads, over the memory wire."""
    pair = Pair(tmp_path, ManualClock(), inline=False)
    pair.leaf.worker.stop()
    leaf = pair.start()
    said: list[str] = []
    leaf.hello, leaf.beat, leaf.reconcile = (lambda: said.append("hello")), (lambda: said.append("beat")), (lambda: said.append("reconcile"))
    before = threading.active_count()
    leaf.start()
    done = threading.Event()
    pair.handler.on["run"] = lambda _j, _c: done.set()
    pair.post()
    try:
        assert done.wait(10)
        until = clock.monotonic() + 10
        # only its own loop publishes: two would post the same report twice
        while not any(isinstance(r, Outcome) for _, r in pair.got) and clock.monotonic() < until:
            clock.sleep(0.02)
            pair.wire.pump()
    finally:
        leaf.stop()
    assert pair.codes() == ["done"]
    assert said[:2] == ["hello", "beat"] or {"hello", "beat"} <= set(said)
    assert threading.active_count() <= before
    assert leaf.loops == []


def test_refresh_says_everything_at_once(pair: Pair) -> None:
    from luhyaapi.command.control import RefreshHost

    said: list[str] = []
    pair.leaf.hello, pair.leaf.beat = (lambda: said.append("hello")), (lambda: said.append("beat"))
    job: Any = type("Job", (), {"services": type("Office", (), {"agent": pair.leaf})})
    RefreshHost().run(job, HostRefresh(host=LEAF))
    assert said == ["hello", "beat"]


def test_a_role_that_ends_compares_no_more_while_its_orders_end(tmp_path: Path) -> None:
    """A guest that ends together with its machine is not taken for one that ended by itself."""
    pair = Pair(tmp_path, ManualClock(), inline=False)
    pair.leaf.worker.stop()
    leaf = pair.start()
    compared: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def run(_job: Any, _command: Any) -> None:
        begun.set()
        go_on.wait(10)

    leaf.reconcile = lambda: compared.append(1)
    pair.handler.on["run"] = run
    leaf.start()
    pair.post()
    assert begun.wait(10)
    comparing = next(loop for loop in leaf.loops if loop.name == "reconcile")
    ending = threading.Thread(target=leaf.stop)
    ending.start()
    try:
        until = clock.monotonic() + 10
        while not leaf.worker._stop.is_set() and clock.monotonic() < until:
            clock.sleep(0.01)
        before = len(compared)
        comparing.wake()
        clock.sleep(0.2)
        assert len(compared) == before
    finally:
        go_on.set()
        ending.join(10)
