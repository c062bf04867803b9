"""A sample of seeds keeps every promise; thousands more run by ``python -m tests.simulator``."""

import pytest

from tests.simulator import plan, story

pytestmark = pytest.mark.walk

SEEDS = 24
"""``make soak`` runs new ones."""


@pytest.mark.walk
@pytest.mark.parametrize("first", range(0, SEEDS, 6))
def test_seeds_keep_every_promise(simulated, first):
    for seed in range(first, first + 6):
        result = story.run(story.planned(str(seed)))
        assert not result.violations, story.tell(result)


def test_one_seed_without_faults(simulated):
    result = story.run(plan.make("calm", kinds=()))
    assert not result.violations, story.tell(result)
    assert result.faults == {}
    assert result.actions["run"] >= 2
    assert {r["effect"] for r in result.records if r["what"] == "effect"} >= {"defined", "running"}


@pytest.mark.walk
@pytest.mark.parametrize("kind", sorted(plan.FAULTS))
def test_every_fault_does_something_and_breaks_nothing(simulated, kind):
    for n in range(3):
        result = story.run(plan.make(f"{kind} {n}", kinds=(kind,)))
        assert not result.violations, story.tell(result)
        if result.faults[kind]:
            return
    raise AssertionError(f"{kind} never came")
