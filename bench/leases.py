"""Addresses and ports lent to 32 who take and give back at once, some of whom are killed: how quickly, and never one twice.

A is what a cluster does: ``leases.take`` in the transaction of the place, under the lock, given back after about ten milliseconds or, one
time in ten, by the sweep alone; a taker is killed each quarter of a second. 20,000 are taken in all (``EDUCLOUD_BENCH_TAKEN``: so many), and
the independent judge of the soak reads who held what when: nothing twice, nothing before it rested, nothing left when all have gone. B is
what one writes first, in the same database with as many takers: look for a free row, then mark it; nobody is killed. What B lends twice is
counted by the same judge. The databases lie in memory, where waiting for a disk makes nobody slow; ``EDUCLOUD_BENCH_DATABASE=mariadb``
takes MariaDB for both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import peers
from tests.soak.tally import Tally

TAKERS, ROUNDS, NAIVE_S, LONGEST_S = 32, 5, 5, 900
ROOT = Path(__file__).resolve().parent.parent


def measure() -> dict[str, Any]:
    """Per second; how often B lent a thing twice."""
    database, wanted = os.environ.pop("EDUCLOUD_BENCH_DATABASE", "sqlite"), int(os.environ.get("EDUCLOUD_BENCH_TAKEN", "20000"))
    if database == "mariadb":
        peers.needed("mariadbd")
    runs: dict[str, list[float]] = {}
    failures: list[str] = []
    for seed in range(1, ROUNDS + 1):
        ours = _run("allocations", database, seed, LONGEST_S, f"--most={wanted // ROUNDS + 1}")
        theirs = _run("naive", database, seed, NAIVE_S)
        failures += [each.story for each in ours.failures]
        for what, value in (
            ("A: lent/s", ours.figures["per_s"]), ("A: lent", ours.runs.total()), ("A: killed", ours.figures["killed"]), ("A: failures", len(ours.failures)),
            ("B: lent/s", theirs.figures["per_s"]), ("B: lent", theirs.runs.total()), ("B: lent twice", theirs.figures["twice"]),
        ):
            runs.setdefault(what, []).append(value)
    assert not failures, failures
    assert sum(runs["A: lent"]) >= wanted, runs["A: lent"]
    return {"database": {"sqlite": "SQLite", "mariadb": "MariaDB"}[database], "runs": runs}


def _run(kind: str, database: str, seed: int, seconds: int, *more: str) -> Tally:
    words = [sys.executable, "-m", f"tests.soak.{kind}", f"--database={database}", f"--takers={TAKERS}", f"--seed={seed}", f"--seconds={seconds}", *more]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return Tally.read(json.loads(done.stdout.splitlines()[-1]))
