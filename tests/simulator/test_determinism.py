"""The same seed is the same run, to the last record, in another process and whatever Python's hashes are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator import story

ROOT = Path(__file__).resolve().parents[2]


def _digest(seed, hash_seed):
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulator", "--story", seed], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=False,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])["digest"]


@pytest.mark.walk
@pytest.mark.parametrize("seed", ["3", "17"])
def test_two_processes_see_the_same(seed):
    assert _digest(seed, "1") == _digest(seed, "2")


@pytest.mark.walk
@pytest.mark.parametrize("seed", ["1", "4", "11"])
def test_what_makes_it_quick_changes_nothing(simulated, seed):
    planned = story.planned(seed)
    assert story.run(planned, quick=True).digest == story.run(planned, quick=False).digest


@pytest.mark.walk
def test_one_process_sees_the_same_twice(simulated):
    first = story.run(story.planned("5"))
    assert first.digest == story.run(story.planned("5")).digest
    assert first.digest != story.run(story.planned("6")).digest
