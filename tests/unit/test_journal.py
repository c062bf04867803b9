"""What a role keeps through a crash: each order once, each end once, reports in order until confirmed."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.base import Envelope
from luhyaapi.journal import ACCEPTED, DONE, KEEP_S, PENDING, Journal

pytestmark = pytest.mark.usefixtures("time")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "deep" / "journal.sqlite")


def _envelope(number: int = 1, subject: str = "ins-00000001") -> Envelope:
    return Envelope(
        id=f"tsk-{number:08x}#0.0", task=f"tsk-{number:08x}", kind="domain/stop", sender="cc-00000001", to="nc-00000001",
        subject=subject, issued_at=1, expires_at=2, deadline=3, body="{}",
    )


def _again(journal: Journal) -> Journal:
    """The next life, from the same file."""
    return Journal(journal._path)


def test_an_order_is_kept_once(journal: Journal) -> None:
    assert journal.accept(_envelope(), "quick") is None
    known = journal.accept(_envelope(), "quick")
    assert known is not None
    assert (known.state, known.envelope) == (ACCEPTED, _envelope())
    assert len(_again(journal).open_rows()) == 1
    assert stat.S_IMODE(journal._path.stat().st_mode) == 0o600


def test_an_order_ends_once(journal: Journal) -> None:
    journal.accept(_envelope(), "quick")
    assert journal.end(_envelope().id, "first", ("s", b"first")) is True
    assert journal.end(_envelope().id, "second", ("s", b"second")) is False
    row = _again(journal).row(_envelope().id)
    assert row is not None
    assert (row.state, row.outcome) == (DONE, "first")
    assert [m for _, m in journal.reports()] == [b"first"]
    assert journal.open_rows() == []


def test_an_end_and_its_report_are_kept_together_or_not_at_all(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.accept(_envelope(), "quick")

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "_put", staticmethod(fail))
    with pytest.raises(OSError, match="space"):
        journal.end(_envelope().id, "outcome", ("s", b"report"))
    monkeypatch.undo()
    row = _again(journal).row(_envelope().id)
    assert row is not None
    assert row.state == ACCEPTED
    assert journal.counts() == (1, 0)
    assert journal.end(_envelope().id, "outcome", ("s", b"report"))


def test_ending_an_unknown_order_changes_nothing(journal: Journal) -> None:
    assert journal.end("tsk-00000009#0.0", "x", ("s", b"x")) is False
    assert journal.counts() == (0, 0)


@pytest.mark.parametrize("subject", ["", "ins-00000001"])
def test_what_is_waited_for_is_there_before_its_time(journal: Journal, time: ManualClock, subject: str) -> None:
    for n in (1, 2):
        journal.accept(_envelope(n).model_copy(update={"subject": f"ins-0000000{n}"}), "quick")
        journal.postpone(_envelope(n).id, clock.now() + 9)
    journal.hasten(subject)
    assert [row.due <= clock.now() for row in journal.open_rows()] == [True, subject == ""]


def test_a_postponed_order_waits_and_counts(journal: Journal, time: ManualClock) -> None:
    journal.accept(_envelope(), "quick")
    journal.postpone(_envelope().id, clock.now() + 5)
    journal.postpone(_envelope().id, clock.now() + 9)
    (row,) = _again(journal).open_rows()
    assert (row.due, row.attempts) == (clock.now() + 9, 2)


def test_open_orders_come_oldest_first(journal: Journal, time: ManualClock) -> None:
    for n in (3, 1, 2):
        journal.accept(_envelope(n, f"ins-{n:08x}"), "quick")
        time.sleep(0.001)
    journal.postpone(_envelope(3).id, clock.now())
    assert [r.task for r in journal.open_rows()] == ["tsk-00000003", "tsk-00000001", "tsk-00000002"]
    assert journal.open_subjects() == {"ins-00000001", "ins-00000002", "ins-00000003"}
    assert journal.counts() == (3, 0)


def test_a_pending_order_is_neither_open_nor_done(journal: Journal) -> None:
    journal.accept(_envelope(), "quick")
    journal.pend(_envelope().id)
    assert journal.open_rows() == []
    assert [r.id for r in journal.open_rows(PENDING)] == [_envelope().id]
    assert journal.end(_envelope().id, "x")
    journal.pend(_envelope().id)
    row = journal.row(_envelope().id)
    assert row is not None
    assert row.state == DONE, "what ended stays ended"


def test_a_buried_task_stays_buried_for_a_week(journal: Journal, time: ManualClock) -> None:
    for _ in range(2):
        journal.bury("tsk-00000001")
    assert _again(journal).is_buried("tsk-00000001")
    assert not journal.is_buried("tsk-00000002")
    time.sleep(KEEP_S - 1)
    journal.sweep()
    assert journal.is_buried("tsk-00000001")
    time.sleep(2)
    journal.sweep()
    assert not journal.is_buried("tsk-00000001")


def test_sweeping_forgets_old_ends_and_never_what_is_open(journal: Journal, time: ManualClock) -> None:
    for n in (1, 2, 3):
        journal.accept(_envelope(n), "quick")
    journal.end(_envelope(1).id, "x", ("s", b"kept"))
    journal.pend(_envelope(2).id)
    time.sleep(KEEP_S + 1)
    journal.sweep()
    assert journal.row(_envelope(1).id) is None
    assert journal.row(_envelope(2).id) is not None
    assert journal.row(_envelope(3).id) is not None
    assert len(journal.reports()) == 1, "a report waits for the broker, however long"


def test_reports_keep_their_order_until_confirmed(journal: Journal) -> None:
    for n in range(5):
        journal.put_report("s", bytes([n]))
    rows = _again(journal).reports(limit=3)
    assert [m for _, m in rows] == [b"\0", b"\1", b"\2"]
    journal.report_confirmed([n for n, _ in rows])
    journal.report_confirmed([])
    journal.report_confirmed([10_000])
    journal.put_report("s", b"\5")
    assert [m for _, m in journal.reports()] == [b"\3", b"\4", b"\5"]


def test_numbers_of_reports_never_come_again(journal: Journal) -> None:
    """A confirmation that comes late must not hit another report."""
    journal.put_report("s", b"a")
    (first,) = [n for n, _ in journal.reports()]
    journal.report_confirmed([first])
    journal.put_report("s", b"b")
    journal.report_confirmed([first])
    assert [m for _, m in journal.reports()] == [b"b"]


def test_an_order_of_another_version_holds_up_no_other(journal: Journal) -> None:
    """After a step back to an older release the journal may hold what it cannot read."""
    for n in (1, 2):
        journal.accept(_envelope(n), "quick")
    with journal._write() as db:
        db.execute("update commands set envelope = '{}' where id = ?", (_envelope(1).id,))
    for _ in range(2):
        assert [r.task for r in journal.open_rows()] == ["tsk-00000002"]
    assert journal.counts() == (1, 0)


def test_each_life_has_a_higher_epoch(journal: Journal, time: ManualClock) -> None:
    began = int(clock.now())
    lives = [journal.next_epoch(), _again(journal).next_epoch(), _again(journal).next_epoch()]
    assert lives == [began, began + 1, began + 2]
    clock.use(ManualClock(began - 3600.0))
    assert _again(journal).next_epoch() == began + 3


def test_a_life_after_a_restored_copy_is_newer_than_those_it_forgot(journal: Journal, time: ManualClock) -> None:
    copied = journal.next_epoch()
    time.sleep(60)
    forgotten = _again(journal).next_epoch()
    with journal._write() as db:
        db.execute("update facts set value = ? where name = 'epoch'", (copied,))
    time.sleep(60)
    assert _again(journal).next_epoch() > forgotten


def test_many_threads_write_at_once(journal: Journal) -> None:
    errors: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for n in range(5):
                journal.accept(_envelope(who * 100 + n), "quick")
                journal.accept(_envelope(999), "quick")
                journal.put_report("s", f"{who}.{n}".encode())
                journal.end(_envelope(999).id, str(who), ("s", b"once"))
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(w,)) for w in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    messages = [m for _, m in journal.reports()]
    assert len(journal.open_rows()) == 20
    assert messages.count(b"once") == 1
    for who in range(4):
        assert [m for m in messages if m.startswith(f"{who}.".encode())] == [f"{who}.{n}".encode() for n in range(5)]
