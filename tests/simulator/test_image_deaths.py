"""A sample of the deaths on the way of an image; `make soak` runs all of them."""

import pytest

from tests.simulator import image_deaths
from tests.soak import images
from tests.soak.tally import Tally

pytestmark = pytest.mark.walk


@pytest.mark.walk
@pytest.mark.parametrize("seed", [
    "upload/walrus/pack: after put", "upload/walrus/manifest: before put", "run/nc1/blob: before rename", "submit/nc1/push: before send",
    "submit/walrus/draft: written", "submit/clc/database: after commit", "abandon/cc/order: before post", "retire/walrus/collect: before delete",
])
def test_a_role_dies_and_every_promise_holds(simulated, seed):
    found = Tally("images")
    images.one(f"die/{seed}/0", found)
    assert (found.failures, found.runs.total()) == ([], 1)


def test_every_story_has_its_words():
    seeds = list(image_deaths.seeds())
    assert len(set(seeds)) == len(seeds) == image_deaths.TIMES * len(image_deaths.WORK) * sum(map(len, image_deaths.POINTS.values()))
