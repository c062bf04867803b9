"""Seeds in several processes add up, and nothing is counted that does not count."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulator import command, runs

pytestmark = pytest.mark.walk

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ran(monkeypatch):
    """``ran(batch)``: these are told instead of run. What was counted is in the list it answers."""
    counted = []

    def instead(*told):
        monkeypatch.setattr(command.cloud, "own_memories", contextlib.nullcontext)
        monkeypatch.setattr(command.log, "setup", lambda _level: None)
        monkeypatch.setattr(command.ledger, "add", counted.append)
        monkeypatch.setattr(command.runs, "here", lambda _asked: iter(told))
        return counted

    return instead


def batch(first, end, step=1, **failed):
    return {"first": first, "end": end, "step": step, "failed": failed, "simulated_s": 1.0, "cpu_s": 0.5,
            "faults": Counter(cut=1), "actions": Counter(run=2), "came": {"cut": [first], "run": list(range(first, end, step))}}


def test_batches_of_jobs_add_up():
    whole = runs.Sum()
    for each in (batch(0, 6, 2), batch(1, 5, 2, **{"3": ["lost"]})):
        whole.add(each)
    form = whole.form(2.0)
    assert (form["seeds"], form["spans"], form["failed"], form["seeds_per_second"]) == (5, "0:5", ["3"], 2.5)
    assert form["first"] == {"3": ["lost"]}
    assert (form["faults"], form["actions"]) == ({"cut": 2}, {"run": 4})
    assert form["came"] == {"cut": "0:2", "run": "0:5"}


@pytest.mark.parametrize("word", ["--no-ledger", "--bug=no_inbox", "--like=no_inbox"])
def test_what_is_no_seed_of_its_own_is_not_counted(ran, word):
    counted = ran(batch(0, 2))
    assert command.main(["--seeds", "0:2", word]) == 0
    assert counted == []


def test_seeds_are_counted(ran, capsys):
    counted = ran(batch(0, 2, **{"1": ["lost"]}))
    assert command.main(["--seeds", "0:2"]) == 1
    (tally,) = counted
    assert (tally.runs["seeds"], tally.spans["seeds"], len(tally.failures)) == (2, [(0, 2)], 1)
    assert tally.came["seeds"]["run"] == [(0, 2)]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] == ["1"]


def test_time_and_end_are_both_kept(monkeypatch, capsys, ran):
    asked = []
    ran()
    monkeypatch.setattr(command.runs, "here", lambda one: asked.append(one) or iter(()))
    for words in (["--seeds", "3:9", "--minutes", "1"], ["--seeds", "3:3", "--minutes", "1"], ["--minutes", "1"], []):
        command.main([*words, "--no-ledger"])
    assert [(one.first, one.end, one.seconds) for one in asked] == [(3, 9, 60), (3, runs.ENDLESS, 60), (0, runs.ENDLESS, 60), (0, 100, 0)]


def test_what_was_seen_in_a_history():
    told = [
        {"who": "nc2", "what": "died"}, {"who": "web", "what": "dies", "at": "statement"}, {"who": "cc", "what": "got", "late": True},
        {"who": "nc1", "what": "effect", "effect": "running", "instance": "a"},
        *({"who": "web", "what": "asked", "verb": "delete", "instance": one, "answer": {"accepted": True}} for one in "ab"),
    ]
    assert runs._seen(told) == {"nc died", "web died", "died at statement", "an order after its time", "deleted before it ran"}
    assert "deleted before it ran" not in runs._seen(told[:-1])


@pytest.mark.walk
def test_two_jobs_run_what_one_would():
    words = [sys.executable, "-m", "tests.simulator", "--seeds", "0:4", "--jobs", "2", "--no-ledger"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    form = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, form["seeds"], form["spans"]) == (0, 4, "0:4")


def test_a_job_that_falls_over_is_no_success():
    with pytest.raises(RuntimeError), runs.in_jobs(runs.Range(0, 2, bug="no such bug"), 1) as batches:
        list(batches)
