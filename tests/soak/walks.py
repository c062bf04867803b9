"""The walks of the tests, of which ``make test`` tries a sample, with every point; each test is one point of the tally."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.soak import tally
from tests.soak.tally import Budget, Tally
from tests.support.walks import WHOLE

ROOT = Path(__file__).resolve().parents[2]
WHERE = ("tests/flow", "tests/simulator")


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """File by file, in an order by chance; one that has begun is run to its end, for a walk that is cut short has shown nothing."""
    found = Tally("walks")
    files = [str(file.relative_to(ROOT)) for where in WHERE for file in sorted((ROOT / where).glob("test_*.py"))]
    budget.chance.shuffle(files)
    for each in [files] if given.only else [[file] for file in files]:
        if budget.left() <= 0:
            break
        _walk(each, given, found)
    return found


def _walk(files: list[str], given: argparse.Namespace, found: Tally) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        words = [*files, "-q", "-m", "walk", "-n", str(given.jobs), "--dist", "worksteal", f"--junitxml={told}", *(["-k", given.only] if given.only else [])]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=ROOT, env={**os.environ, WHOLE: "1"}, check=False, capture_output=True, text=True,
        )
        if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
            return
        if not told.exists() or not (cases := list(ET.parse(told).iter("testcase"))):
            found.fail("the run itself", done.stdout[-500:] + done.stderr[-500:], f"python -m pytest {' '.join(words)}")
            return
        for case in cases:
            _count(found, case)


def _count(found: Tally, case: ET.Element) -> None:
    file, name = case.get("classname", "").replace(".", "/") + ".py", case.get("name", "")
    point = f"{Path(file).stem} {name.partition('[')[0]}"
    found.count(point)
    for trouble in (*case.iter("failure"), *case.iter("error")):
        found.fail(point, str(trouble.text), f"{WHOLE}=1 python -m pytest '{file}::{name}'")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="walks with this in their name, as ``pytest -k`` takes it")


def main(argv: list[str] | None = None) -> int:
    """The program."""
    return tally.program("walks", run, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
