"""Every test of the table of attacks, once; each of its cases counts for the rows that name it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

from deploy.attack_table import ATTACKS
from tests.soak import tally
from tests.soak.tally import Budget, Tally

ROOT = Path(__file__).resolve().parents[2]


def run(_budget: Budget, given: argparse.Namespace) -> Tally:
    """All rows, or those asked for; how long that takes is how long they take."""
    found, rows_of = Tally("attacks"), defaultdict[str, list[str]](list)
    for row in ATTACKS:
        if not given.row or row.name in given.row:
            for test in row.tests:
                rows_of[test].append(row.name)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *rows_of]
        done = subprocess.run(words, cwd=ROOT, stdout=sys.stderr, check=False)
        counted(report, rows_of, found)
    if done.returncode and not found.failures:
        found.fail("the run itself", f"pytest ended with {done.returncode}", "python -m tests.soak.attacks")
    return found


def counted(report: Path, rows_of: dict[str, list[str]], found: Tally) -> None:
    """What a report of pytest says, by rows."""
    # our own pytest wrote it a moment ago
    for case in ET.parse(report).iter("testcase"):
        test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
        for row in rows_of[test]:
            found.count(row)
            if (trouble := next((each for each in case if each.tag in ("failure", "error", "skipped")), None)) is not None:
                found.fail(row, f"{case.get('name')}: {trouble.get('message', '')}", f"python -m pytest {test}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--row", action="append", help="only this row, such as A01; may be given again")


def main(argv: list[str] | None = None) -> int:
    """The program."""
    return tally.program("attacks", run, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
