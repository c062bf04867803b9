"""Life cycles: complete tables, every way leads to rest, what is over stays over."""

from __future__ import annotations

import copy
from enum import StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luhyaapi import machines
from luhyaapi.contracts.vocabulary import HostState, ImageState, InstanceState, TaskState, WorkspaceState
from luhyaapi.errors import Refused
from luhyaapi.machines import LifeCycle

WORDS: dict[str, type[StrEnum]] = {"task": TaskState, "instance": InstanceState, "image": ImageState, "workspace": WorkspaceState, "host": HostState}
each = pytest.mark.parametrize("cycle", machines.LIFE_CYCLES, ids=lambda c: c.name)
FACTS = {"seen_starting", "seen_running", "seen_stopped", "seen_failed"}


def _reachable(cycle: LifeCycle, start: str) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += [to for (s, _), to in cycle.moves.items() if s == state]
    return seen


def test_every_word_has_its_table() -> None:
    assert {c.name for c in machines.LIFE_CYCLES} == set(WORDS)


@each
def test_the_table_and_its_words_agree(cycle: LifeCycle) -> None:
    assert cycle.states == {str(w) for w in WORDS[cycle.name]}
    assert {*map(str, cycle.stable), *map(str, cycle.final)} <= cycle.states


@each
def test_every_state_can_be_reached(cycle: LifeCycle) -> None:
    assert _reachable(cycle, str(cycle.first)) == cycle.states


@each
def test_every_state_on_its_way_reaches_one_that_rests(cycle: LifeCycle) -> None:
    for state in cycle.states:
        assert _reachable(cycle, state) & {str(s) for s in cycle.stable}, state


@each
def test_what_is_final_rests_and_has_no_way_out(cycle: LifeCycle) -> None:
    assert cycle.final <= cycle.stable
    assert [s for s, _ in cycle.moves if s in cycle.final] == []


@each
def test_every_life_can_end(cycle: LifeCycle) -> None:
    for state in cycle.states:
        assert _reachable(cycle, state) & {str(s) for s in cycle.final}, state


@each
def test_what_is_not_in_the_table_is_refused_with_what_is_possible(cycle: LifeCycle) -> None:
    for state in cycle.states:
        with pytest.raises(Refused) as e:
            cycle.advance(state, "explode")
        assert e.value.code == "state"
        assert state in e.value.why
    with pytest.raises(Refused):
        cycle.advance("nowhere", next(iter(cycle.moves))[1])


@settings(max_examples=100, deadline=None, database=None)
@given(st.sampled_from(machines.LIFE_CYCLES), st.data())
def test_advance_is_pure_and_agrees_with_allows(cycle: LifeCycle, data: st.DataObject) -> None:
    before = copy.deepcopy(cycle)
    events = sorted({e for _, e in cycle.moves} | {"explode"})
    state = str(cycle.first)
    for event in data.draw(st.lists(st.sampled_from(events), max_size=20)):
        if cycle.allows(state, event):
            new = cycle.advance(state, event)
            assert new == cycle.advance(state, event)
            assert type(new) is str
            state = new
        else:
            with pytest.raises(Refused):
                cycle.advance(state, event)
        assert state in cycle.states
    assert cycle == before


def test_words_and_plain_texts_are_the_same_state() -> None:
    assert machines.TASK.advance(TaskState.QUEUED, "start") == machines.TASK.advance("queued", "start") == "running"


def test_lost_is_not_final() -> None:
    """News may come late: any outcome still moves a task that was given up on."""
    for event, to in (("finish", "done"), ("fail", "failed"), ("end_cancelled", "cancelled"), ("start", "running")):
        assert machines.TASK.advance("lost", event) == to


def test_what_the_node_saw_wins_from_every_state_but_deleted() -> None:
    cycle = machines.INSTANCE
    # of one that waits for its turn its node was told nothing yet: that it does not run is no news
    assert not any(cycle.allows("queued", fact) for fact in ("seen_stopped", "seen_failed"))
    for state in cycle.states - {"deleted", "queued"}:
        for fact, to in (("seen_stopped", "stopped"), ("seen_failed", "failed")):
            assert cycle.advance(state, fact) == to
    assert not any(cycle.allows("deleted", fact) for fact in FACTS)


def test_an_unfinished_deletion_can_be_asked_for_again() -> None:
    assert machines.INSTANCE.advance("stopping", "delete") == "stopping"
    assert machines.INSTANCE.advance("unknown", "deleted") == "deleted"


def test_a_draining_host_stays_draining_when_it_says_hello() -> None:
    assert machines.HOST.advance("draining", "hello") == "draining"
    assert machines.HOST.allows("retired", "hello") is False


def test_a_refusal_names_only_what_somebody_can_ask_for():
    with pytest.raises(Refused) as told:
        machines.INSTANCE.advance("running", "start")
    assert told.value.why == "it is running; possible now: connect, delete, reboot, restore, stop"
    with pytest.raises(Refused) as told:
        machines.TASK.advance("done", "cancel")
    assert told.value.why == "it is done"
