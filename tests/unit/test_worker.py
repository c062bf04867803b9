"""What becomes of an order: once, in order, with its half taken back, and its end told as often as it is asked."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock, process
from luhyaapi.clock import ManualClock
from luhyaapi.command import worker
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.commands import DomainDelete, DomainStart, DomainStop, EdgeApply, ImageDelete
from luhyaapi.contracts.reports import Progress
from luhyaapi.contracts.vocabulary import Lane
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.journal import ACCEPTED, DONE, PENDING
from luhyaapi.role import PENDING as PENDING_ANSWER
from luhyaapi.role import Done
from luhyaapi.wire.signing import refusals, seal
from tests.support.tiny_role import BOSS, INSTANCE, LEAF, TASK, Pair, pair_fixture

__all__ = ["pair_fixture"]
OTHER = "ins-00000002"


def _raise(error: BaseException) -> Any:
    def phase(_job: Any, _command: Any) -> None:
        raise error

    return phase


def test_an_order_is_checked_then_run_and_its_end_is_told(pair: Pair) -> None:
    envelope = pair.post()
    assert pair.said == []
    assert pair.step() == 1
    assert pair.said == [f"check {INSTANCE}", f"run {INSTANCE}"]
    assert [(o.command, o.task, o.error) for o in pair.outcomes()] == [(envelope.id, TASK, None)]
    assert pair.step() == 0


def test_facts_of_the_handler_stand_in_the_outcome(pair: Pair) -> None:
    pair.handler.on["run"] = lambda _j, _c: Done({"display": {"protocol": "vnc", "port": 8701}})
    pair.post()
    pair.step()
    assert pair.outcomes()[0].display.port == 8701


def test_a_second_delivery_before_the_end_changes_nothing(pair: Pair) -> None:
    envelope = pair.post()
    pair.leaf.worker.accept(seal(envelope, pair.boss_key))
    assert pair.step() == 1
    assert pair.said.count(f"run {INSTANCE}") == 1
    assert pair.codes() == ["done"]


def test_a_delivery_after_the_end_says_the_outcome_again_and_runs_nothing(pair: Pair) -> None:
    envelope = pair.post()
    pair.step()
    first = pair.outcomes()[0]
    for _ in range(3):
        pair.leaf.worker.accept(seal(envelope, pair.boss_key))
        pair.step()
    assert pair.outcomes() == [first] * 4
    assert pair.said.count(f"run {INSTANCE}") == 1
    numbers = [(e.epoch, e.seq) for e, _ in pair.got]
    assert numbers == sorted(set(numbers)), "said again means newer"


def test_an_order_that_ended_after_it_was_listed_is_not_run_again(pair: Pair) -> None:
    envelope = pair.post()
    (listed,) = pair.leaf.journal.open_rows()
    pair.step()
    ended = pair.leaf.journal.row(envelope.id)
    assert ended is not None
    assert ended.state == DONE
    for row in (listed, ended):
        pair.leaf.worker._carry_out(row)
    assert pair.said.count(f"run {INSTANCE}") == 1
    assert pair.codes() == ["done"]


def test_also_in_the_next_life(pair: Pair) -> None:
    envelope = pair.post()
    pair.step()
    pair.start()
    pair.leaf.worker.accept(seal(envelope, pair.boss_key))
    assert pair.step() == 0
    assert pair.codes() == ["done", "done"]


def test_an_order_accepted_before_a_crash_is_carried_out_in_the_next_life(pair: Pair) -> None:
    pair.post()
    pair.start()
    assert pair.step() == 1
    assert pair.codes() == ["done"]


@pytest.mark.parametrize(("phase", "error", "said"), [
    ("run", Failed("hypervisor", "No"), ["check", "run", "undo"]),
    ("run", Refused("state", "No"), ["check", "run", "undo"]),
    ("run", ValueError("ours"), ["check", "run", "undo"]),
    ("check", Refused("exists", "No"), ["check", "undo"]),
])
def test_what_fails_is_taken_back_and_told(pair: Pair, phase: str, error: Exception, said: list[str]) -> None:
    pair.handler.on[phase] = _raise(error)
    pair.post()
    pair.step()
    assert [s.split()[0] for s in pair.said] == said
    assert pair.codes() == [getattr(error, "code", "bug")]
    assert pair.step() == 0


def test_what_a_fault_of_ours_says_stays_in_the_log(pair: Pair) -> None:
    pair.handler.on["run"] = _raise(ValueError("/var/lib/somewhere secret"))
    pair.post()
    pair.step()
    (outcome,) = pair.outcomes()
    assert outcome.error is not None
    assert outcome.error.code == "bug"
    assert "secret" not in outcome.model_dump_json()


def test_a_failing_undo_does_not_hide_the_first_error(pair: Pair) -> None:
    pair.handler.on = {"run": _raise(Failed("disk_full", "Full")), "undo": _raise(ValueError("also this"))}
    pair.post()
    pair.step()
    assert pair.codes() == ["disk_full"]


def test_what_is_unavailable_waits_ever_longer_and_succeeds(pair: Pair, time: ManualClock) -> None:
    tries: list[float] = []

    def run(_job: Any, _command: Any) -> None:
        tries.append(clock.now())
        if len(tries) < 4:
            raise Unavailable("hypervisor_down", "Away")

    pair.handler.on["run"] = run
    pair.post()
    for _ in range(60):
        pair.step()
        time.sleep(0.1)
    waits = [b - a for a, b in itertools.pairwise(tries)]
    assert len(tries) == 4
    assert waits == sorted(waits)
    assert [s.split()[0] for s in pair.said] == ["check", "run", "run", "run", "run"], "checked once, nothing taken back"
    assert pair.codes() == ["done"]


def test_what_stays_unavailable_fails_at_its_deadline_with_its_own_reason(pair: Pair, time: ManualClock) -> None:
    pair.handler.on["run"] = _raise(Unavailable("hypervisor_down", "Away"))
    until = clock.now() + 60
    pair.post(deadline=until)
    while clock.now() < until + 20:
        pair.step()
        time.sleep(1)
    assert pair.codes() == ["hypervisor_down"]
    assert pair.said[-1] == f"undo {INSTANCE}"
    assert pair.said.count(f"run {INSTANCE}") > 5


def test_what_is_worth_several_tries_fails_only_after_the_last(pair: Pair, time: ManualClock, monkeypatch: Any) -> None:
    monkeypatch.setattr(type(pair.handler), "tries", 3, raising=False)
    pair.handler.on["run"] = _raise(Failed("hypervisor", "It said no"))
    pair.post()
    for tried in (1, 2, 3):
        assert pair.codes() == []
        assert pair.step() == 1
        assert pair.said.count(f"run {INSTANCE}") == tried
        time.sleep(1)
    assert pair.codes() == ["hypervisor"]
    assert pair.said.count(f"undo {INSTANCE}") == 1


def test_an_order_whose_deadline_passed_while_the_role_was_away_is_not_begun(pair: Pair, time: ManualClock) -> None:
    pair.post()
    time.sleep(DomainStop(instance=INSTANCE).timeout_s + 1)
    pair.start()
    pair.step()
    assert f"run {INSTANCE}" not in pair.said
    assert pair.codes() == ["timeout"]


def test_an_interrupted_order_is_resumed_in_the_next_life_and_not_taken_back(pair: Pair, time: ManualClock) -> None:
    pair.handler.on["run"] = lambda job, _c: (pair.leaf.worker._stop.set(), job.checkpoint())
    pair.post()
    pair.step()
    assert [s.split()[0] for s in pair.said] == ["check", "run"]
    assert pair.outcomes() == []
    pair.handler.on.clear()
    pair.start()
    time.sleep(1)
    pair.step()
    assert [s.split()[0] for s in pair.said] == ["check", "run", "run"]
    assert pair.codes() == ["done"]


def test_an_order_cancelled_before_it_began_does_not_run(pair: Pair) -> None:
    pair.post()
    pair.leaf.journal.bury(TASK)
    pair.step()
    assert f"run {INSTANCE}" not in pair.said
    assert pair.codes() == ["cancelled"]


@pytest.mark.parametrize("deadline", [None, 1.0], ids=["in time", "past its deadline"])
def test_an_order_that_comes_after_its_cancel_is_refused(pair: Pair, deadline: float | None) -> None:
    pair.cancel()
    pair.step()
    pair.post(deadline=deadline)
    pair.step()
    assert f"run {INSTANCE}" not in pair.said
    assert pair.codes() == ["done", "cancelled"]


def test_an_order_cancelled_while_it_runs_ends_at_its_checkpoint_and_is_taken_back(pair: Pair) -> None:
    def run(job: Any, _command: Any) -> None:
        assert not job.cancelled()
        pair.cancel()
        pair.step()
        assert job.cancelled()
        job.checkpoint()

    pair.handler.on["run"] = run
    pair.post()
    pair.step()
    assert [s.split()[0] for s in pair.said] == ["check", "run", "undo"]
    assert sorted(pair.codes()) == ["cancelled", "done"]


def test_a_step_that_takes_back_is_not_refused_by_the_cancel(pair: Pair) -> None:
    pair.cancel()
    pair.step()
    pair.handler.on["run"] = lambda job, _c: job.checkpoint()
    pair.post(step="undo-boot")
    pair.step()
    assert f"run {INSTANCE}" in pair.said
    assert pair.codes() == ["done", "done"]


def test_a_cancel_of_one_task_leaves_the_others_alone(pair: Pair) -> None:
    pair.cancel("tsk-00000002")
    pair.step()
    pair.post()
    pair.step()
    assert pair.codes() == ["done", "done"]


def test_an_order_nobody_handles_is_answered(pair: Pair) -> None:
    envelope = pair.envelope().model_copy(update={"kind": "volume/attach"})
    pair.leaf.worker.accept(seal(envelope, pair.boss_key))
    pair.step()
    assert pair.codes() == ["unsupported"]


def test_an_order_of_another_role_is_answered(pair: Pair) -> None:
    envelope = pair.envelope().model_copy(update={"kind": EdgeApply.kind, "body": "{}"})
    pair.leaf.worker.accept(seal(envelope, pair.boss_key))
    pair.step()
    assert pair.codes() == ["unsupported"]


@pytest.mark.parametrize("body", ["", "nonsense", "{}", '{"instance":"ins-00000001","surprise":1}', '{"instance":"../etc"}'])
def test_an_order_that_cannot_be_read_is_refused_and_nothing_begins(pair: Pair, body: str) -> None:
    pair.post(body=body)
    pair.step()
    assert pair.said == []
    assert pair.codes() == ["invalid"]


@pytest.mark.parametrize(("over", "code"), [
    ({"to": "nc-0000000f"}, "misaddressed"),
    ({"expires_at": 1.0}, "expired"),
    ({"issued_at": 4e9, "expires_at": 5e9}, "expired"),
])
def test_an_order_at_the_wrong_door_or_time_is_refused_at_the_door(pair: Pair, over: dict[str, Any], code: str) -> None:
    before = refusals().get(code, 0)
    pair.post(**over)
    assert pair.step() == 0
    assert refusals()[code] == before + 1
    assert pair.leaf.journal.counts() == (0, 0)


@pytest.mark.parametrize("key", ["leaf_key", "stranger"])
def test_an_order_signed_by_somebody_else_is_refused_at_the_door(pair: Pair, key: str) -> None:
    wrong = pair.leaf_key if key == "leaf_key" else Ed25519PrivateKey.generate()
    pair.leaf.worker.accept(seal(pair.envelope(), wrong))
    pair.leaf.worker.accept(seal(pair.envelope(sender="cc-0000000c"), wrong))
    pair.leaf.worker.accept(seal(pair.envelope(sender=LEAF), pair.leaf_key))
    assert pair.leaf.journal.counts() == (0, 0)


def test_an_order_a_flow_goes_on_with_is_ended_once_by_the_flow(pair: Pair) -> None:
    pair.handler.on["run"] = lambda _j, _c: PENDING_ANSWER
    envelope = pair.post()
    pair.step()
    row = pair.leaf.journal.row(envelope.id)
    assert row is not None
    assert row.state == PENDING
    pair.leaf.worker.accept(seal(envelope, pair.boss_key))
    assert (pair.step(), pair.outcomes()) == (0, [])
    for _ in range(2):
        pair.leaf.worker.end(envelope, Failed("guest", "No"), {})
    assert pair.codes() == ["guest"]


def test_progress_is_told_at_most_twice_a_second_and_at_the_end(pair: Pair) -> None:
    def run(job: Any, _command: Any) -> None:
        for n in range(101):
            job.progress("fetch", n, 100)
        job.progress("nothing", 0, 0)

    pair.handler.on["run"] = run
    pair.post()
    pair.step()
    pair.outcomes()
    told = [r.percent for _, r in pair.got if isinstance(r, Progress)]
    assert told[0] == 0
    assert 100 in told
    assert len(told) <= 4


def test_a_journal_that_fails_once_delays_an_order_and_loses_nothing(pair: Pair, time: ManualClock, monkeypatch: Any) -> None:
    pair.post()
    real, broken = pair.leaf.journal.end, iter([True])

    def end(*args: Any) -> bool:
        if next(broken, False):
            raise OSError(28, "No space left on device")
        return real(*args)

    monkeypatch.setattr(pair.leaf.journal, "end", end)
    pair.step()
    assert pair.outcomes() == []
    time.sleep(11)
    pair.step()
    assert pair.codes() == ["done"]


def test_orders_a_role_gives_itself_are_reduced_at_home(pair: Pair) -> None:
    own: list[Any] = []
    pair.leaf.reduce_own = lambda report, task="": own.append(report)  # type: ignore[method-assign]
    pair.leaf.worker.take(pair.envelope(sender=LEAF))
    pair.step()
    assert [o.command for o in own] == [f"{TASK}#0.0"]
    assert pair.outcomes() == []


# ---- lanes, with real threads


@pytest.fixture
def threaded(tmp_path: Path) -> Any:
    pair = Pair(tmp_path, ManualClock(), inline=False)
    yield pair
    pair.leaf.worker.stop()


class Gate:
    """A handler phase that waits until it is let go, and counts who is inside."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most = 0
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(self, _job: Any, command: Any) -> None:
        with self._lock:
            self.inside.append(command.subject)
            self.most = max(self.most, len(self.inside))
        self.entered.release()
        assert self.open.wait(10)
        with self._lock:
            self.inside.remove(command.subject)


def _drain(pair: Pair) -> None:
    until = clock.monotonic() + 10
    while pair.leaf.journal.open_rows(ACCEPTED) and clock.monotonic() < until:
        pair.step()
        clock.sleep(0.01)


def test_orders_on_one_subject_take_turns_and_others_go_on(threaded: Pair) -> None:
    gate = Gate()
    threaded.handlers["domain/stop"].on["run"] = threaded.handlers["domain/start"].on["run"] = gate
    for n in range(3):
        threaded.post(step=str(n))
    threaded.post(DomainStop(instance=OTHER), step="9")
    assert threaded.step() == 2
    assert gate.entered.acquire(timeout=10)
    assert gate.entered.acquire(timeout=10)
    assert threaded.step() == 0
    assert sorted(gate.inside) == [INSTANCE, OTHER]
    gate.open.set()
    _drain(threaded)
    assert gate.most == 2
    assert threaded.said.count(f"run {INSTANCE}") == 3


def test_stops_that_wait_for_their_guests_are_in_no_deletes_way(threaded: Pair) -> None:
    """A class is stopped with much grace, more of it than are stopped at once, while somebody deletes."""
    gate = Gate()
    threaded.handler.on["run"] = gate
    for n in range(worker.WIDTH[Lane.STOP] + 1):
        threaded.post(DomainStop(instance=f"ins-000001{n:02x}", grace_s=600), step=f"s{n}")
    assert threaded.step() == worker.WIDTH[Lane.STOP] >= 60
    deletes = [threaded.post(DomainDelete(instance=f"ins-0000020{n}"), step=f"d{n}") for n in range(worker.WIDTH[Lane.DOMAIN])]
    assert threaded.step() == len(deletes)
    until = clock.monotonic() + 10
    while not all(_state(threaded, each) == DONE for each in deletes) and clock.monotonic() < until:
        clock.sleep(0.01)
    assert [_state(threaded, each) for each in deletes] == [DONE] * len(deletes)
    gate.open.set()
    _drain(threaded)


def _state(pair: Pair, envelope: Envelope) -> str:
    row = pair.leaf.journal.row(envelope.id)
    return row.state if row else ""


def test_a_cancel_and_a_quick_order_overtake_a_full_lane(threaded: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    threaded.handler.on["run"] = gate
    width = 4
    monkeypatch.setitem(worker.WIDTH, Lane.STOP, width)
    for n in range(width + 2):
        threaded.post(DomainStop(instance=f"ins-0000001{n}"), step=str(n))
    assert threaded.step() == width
    for _ in range(width):
        assert gate.entered.acquire(timeout=10)
    threaded.cancel()
    threaded.post(ImageDelete(image="img-00000001", blobs=()), step="x", task="tsk-000000ee")
    assert threaded.step() == 2
    until = clock.monotonic() + 10
    while len(threaded.leaf.journal.open_rows(ACCEPTED)) > width + 2 and clock.monotonic() < until:
        clock.sleep(0.01)
    assert threaded.leaf.journal.is_buried(TASK)
    gate.open.set()
    _drain(threaded)
    states = {r.state for n in range(width + 2) if (r := threaded.leaf.journal.row(f"{TASK}#{n}.0"))}
    assert states == {DONE}
    assert gate.most == width


def test_a_stopping_role_lets_a_handler_reach_its_checkpoint(threaded: Pair) -> None:
    begun = threading.Event()

    def run(job: Any, _command: Any) -> None:
        begun.set()
        while True:
            job.checkpoint()
            clock.sleep(0.01)

    threaded.handler.on["run"] = run
    envelope = threaded.post()
    threaded.step()
    assert begun.wait(10)
    threaded.leaf.worker.stop()
    row = threaded.leaf.journal.row(envelope.id)
    assert row is not None
    assert (row.state, row.attempts) == (ACCEPTED, 1)
    assert f"undo {INSTANCE}" not in threaded.said


def test_a_stopped_role_begins_nothing_more(threaded: Pair) -> None:
    threaded.leaf.worker.stop()
    envelope = threaded.post()
    assert threaded.step() == 0
    row = threaded.leaf.journal.row(envelope.id)
    assert row is not None
    assert row.state == ACCEPTED


def test_a_running_loop_carries_out_orders_as_they_come(threaded: Pair) -> None:
    loop = process.Loop("worker", threaded.leaf.worker.step, 60).start()
    threaded.leaf._working = loop
    done = threading.Event()
    threaded.handlers["domain/start"].on["run"] = lambda _j, _c: done.set()
    body = {"instance": INSTANCE, "spec": {
        "instance": INSTANCE, "name": "a", "cpus": 1, "memory_mib": 64,
        "image": {"image": "img-00000001", "version": 1, "blobs": [{"part": "disk", "sha256": "0" * 64, "index": "0" * 64, "size": 1}]},
    }}
    threaded.post(DomainStart.model_validate(body))
    assert done.wait(10)
    loop.stop()


def test_the_envelope_names_its_boss(pair: Pair) -> None:
    envelope = pair.envelope()
    assert isinstance(envelope, Envelope)
    assert (envelope.sender, envelope.to) == (BOSS, LEAF)
