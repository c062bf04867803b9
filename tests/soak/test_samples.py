"""A small sample of each kind of the soak, and the means it counts with."""

from __future__ import annotations

import argparse

from tests.soak import starts
from tests.soak.intervals import IntervalLog, judge
from tests.soak.tally import Budget


def test_two_hundred_double_starts():
    found = starts.run(Budget(60, 1), argparse.Namespace(most=210))
    assert (found.failures, found.runs.total()) == ([], 210)
    assert set(found.runs) == set(starts.SHAPES)


def test_the_judge_sees_what_is_held_twice_or_too_early(tmp_path):
    log = IntervalLog(tmp_path / "log")
    log.write("+", "one", "10.0.0.2", "8700")
    log.write("+", "two", "10.0.0.2", "8701")
    log.write("-", "one")
    log.write("+", "three", "8700")
    log.write("!", "four", "lost")
    verdict = judge(tmp_path / "log", rest_s=60)
    assert verdict.taken == 3
    assert verdict.twice == ["10.0.0.2 held by one and by two"]
    assert [words.split()[0] for words in verdict.early] == ["8700"]
    assert verdict.trouble == ["four lost"]
