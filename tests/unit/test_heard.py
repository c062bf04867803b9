"""A durable report counts once, and never after a newer one; the memory of two bosses stays apart."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.base import Envelope
from luhyaapi.errors import Bug
from luhyadb import heard, memory
from luhyadb.models import Heard, Host, Placement

pytestmark = pytest.mark.django_db(databases=["default", "cc"])


def _report(epoch: int, seq: int, subject: str = "ins-00000001", sender: str = "nc-00000001") -> Envelope:
    return Envelope(
        id=f"{sender}:{epoch}:{seq}", kind="instance/facts", sender=sender, to="cc-00000001", subject=subject, issued_at=0,
        expires_at=1, deadline=1, epoch=epoch, seq=seq, body="{}",
    )


def test_newer_is_fresh_once() -> None:
    told = [heard.is_fresh(_report(*n)) for n in ((1, 5), (1, 5), (1, 4), (1, 6), (2, 1), (1, 99), (2, 1), (2, 2))]
    assert told == [True, False, False, True, True, False, False, True]
    assert Heard.objects.count() == 1


def test_origins_and_subjects_are_apart() -> None:
    assert all(heard.is_fresh(r) for r in (_report(1, 5), _report(1, 1, "other"), _report(1, 1, sender="nc-00000002")))


def test_forgotten_with_the_change_that_failed() -> None:
    def change() -> None:
        with memory.atomic():
            assert heard.is_fresh(_report(1, 1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    assert heard.is_fresh(_report(1, 1)), "it comes again, and counts then"


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12))
def test_in_any_order_the_newest_wins(numbers: list[tuple[int, int]]) -> None:
    Heard.objects.all().delete()
    newest = (-1, -1)
    for number in numbers:
        assert heard.is_fresh(_report(*number)) is (number > newest)
        newest = max(newest, number)


def test_numbers_as_large_as_an_envelope_allows_are_kept() -> None:
    assert heard.is_fresh(_report(2**53, 2**53))
    assert not heard.is_fresh(_report(2**53, 2**53 - 1))


# ---- whose memory


def test_two_bosses_in_one_process_remember_apart() -> None:
    assert heard.is_fresh(_report(1, 1))
    with memory.of("cc"):
        assert heard.is_fresh(_report(1, 1))
        assert memory.current() == "cc"
    assert memory.current() == "clc"


@pytest.mark.parametrize(("role", "table"), [("cc", Host), ("clc", Placement)])
def test_a_question_to_the_others_table_is_a_bug(role: str, table: type) -> None:
    with memory.of(role), pytest.raises(Bug):
        table.objects.count()  # type: ignore[attr-defined]


def test_memory_is_restored_after_a_failure() -> None:
    with pytest.raises(RuntimeError), memory.of("cc"):
        raise RuntimeError
    assert memory.current() == "clc"


def test_aliases_follow_the_role_of_the_process() -> None:
    assert (memory.alias("clc"), memory.alias("cc"), memory.alias()) == ("default", "cc", "default")
    with memory.thread_of("cc"):
        assert memory.alias() == "cc"


def test_what_can_come_no_more_is_forgotten() -> None:
    before = clock.use(ManualClock(start=0.5))
    try:
        assert heard.is_fresh(_report(1, 1))
        assert heard.prune() == 0
        clock.sleep(1)
        assert heard.prune() == 1
    finally:
        clock.use(before)
