"""Each deliberate bug is found, and the seed that finds it passes without it."""

from itertools import chain

import pytest

from tests.simulator import story
from tests.simulator.bugs import BUGS

AT_MOST = 80


def test_there_are_enough_of_them():
    assert len(BUGS) >= 15
    assert len({b.what for b in BUGS.values()}) == len(BUGS)


@pytest.mark.walk
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_bug_is_found(simulated, bug):
    for seed in chain([BUGS[bug].seen_at], range(AT_MOST)):
        planned = story.planned(str(seed), bug)
        if story.run(planned, bug).violations:
            sound = story.run(planned)
            assert not sound.violations, story.tell(sound)
            return
    raise AssertionError(f"{AT_MOST} seeds and nobody saw that {BUGS[bug].what}")


@pytest.mark.walk
def test_a_failing_seed_tells_its_story_and_gets_smaller(simulated):
    planned = story.planned("0", "lease_forgotten")
    result = story.run(planned, "lease_forgotten")
    assert result.violations
    smaller = story.shrink(planned, "lease_forgotten")
    assert smaller.violations
    assert 0 < len(smaller.plan.items) < len(planned.items)
    told = story.tell(smaller, "lease_forgotten")
    assert "--story 0 --bug lease_forgotten" in told
    assert "delete" in told
