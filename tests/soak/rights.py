"""Who may do what, asked by chance many times as often as in ``make test``: the rule and its model, the described API, limits and a recount."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.soak import tally
from tests.soak.tally import Budget, Tally
from tests.support.many import TIMES

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = {
    "the rule and its model": "tests/unit/test_who_may.py::test_the_rule_and_its_model_say_the_same",
    "calls as described": "tests/api/test_described_calls.py::test_nothing_breaks_it_and_nobody_learns_of_others",
    "steps and a recount": "tests/api/test_quota_steps.py::test_what_is_counted_is_what_there_is",
}
_SECONDS_A_TIME = 45.0
"""About so long takes all of it once, in one process."""


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """As many times over as fit into the time."""
    found, times = Tally("rights"), given.times or max(round(budget.seconds * given.jobs / _SECONDS_A_TIME), 1)
    with tempfile.TemporaryDirectory() as folder:
        for point, test in QUESTIONS.items():
            if given.point and point not in given.point:
                continue
            told = Path(folder) / "told.xml"
            words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(given.jobs), "--dist", "worksteal", f"--junitxml={told}", test]
            done = subprocess.run([sys.executable, *words], cwd=ROOT, env={**os.environ, TIMES: str(times)}, stdout=sys.stderr, check=False)
            counted(point, test, told, found)
            if done.returncode and not found.failures:
                found.fail(point, f"pytest ended with {done.returncode}", f"{TIMES}={times} python -m pytest {test}")
    return found


def counted(point: str, test: str, told: Path, found: Tally) -> None:
    """Each question that a test says it asked."""
    # our own pytest wrote it a moment ago
    for case in ET.parse(told).iter("testcase"):
        found.count(point, sum(int(each.get("value", "0")) for each in case.iter("property") if each.get("name") == "asked"))
        for trouble in (*case.iter("failure"), *case.iter("error")):
            found.fail(point, f"{case.get('name')}: {trouble.get('message', '')}", f"python -m pytest {test}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--point", action="append", choices=list(QUESTIONS), help="only this; may be given again")
    parser.add_argument("--times", type=int, default=0, help="how often; 0: as fits into the time")


def main(argv: list[str] | None = None) -> int:
    """The program."""
    return tally.program("rights", run, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
