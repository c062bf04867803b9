"""The page of promises: each fault with its tests, and what the runs of the ledger bound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.attack_table import ATTACKS
from deploy.fault_table import FAULTS, PROMISES, Row

_ATTACKS = """\
Each has a canary that would be touched if it came through. `make soak ONLY=attacks` runs every test of the table once and counts its
cases, as each run of it does; numbers below A80 as in the list of what was studied, which has further ones on other parts.
"""
Ledger = dict[str, dict[str, dict[str, Any]]]
_HEAD = """\
What is promised when things break, the tests that show it, and how often it was tried. `make soak MINUTES=N` runs more and adds
to `docs/ledger.json`; nobody edits counts by hand. After N runs without a failure the rate of failures is, with 95 % confidence,
below 3/N; where something failed, the entry says so and what repeats it. Failures stay counted also after they were mended.
"""


def page(ledger_file: Path, note: str) -> str:
    """The whole page in Markdown."""
    ledger: Ledger = json.loads(ledger_file.read_text("utf-8")) if ledger_file.exists() else {}
    parts = ["# Reliability\n", note, _HEAD, "## Promises\n", *_table(PROMISES, ledger), "\n## Faults\n", *_table(FAULTS, ledger)]
    parts += ["\n## Attacks\n", _ATTACKS, *_table(ATTACKS, ledger, "What is tried")]
    parts += ["\n## The ledger\n", *_all(ledger)]
    return "\n".join(parts)


def _table(rows: tuple[Row, ...], ledger: Ledger, title: str = "What happens") -> list[str]:
    lines = [f"| | {title} | What is promised | Tests | Runs |", "|---|---|---|---|---|"]
    for row in rows:
        tests = "<br>".join(f"`{t.removeprefix('tests/')}`" for t in row.tests) or "none"
        lines.append(f"| {row.name} | {row.title} | {row.promise} | {tests} | {_runs(row, ledger)} |")
    return lines


def _runs(row: Row, ledger: Ledger) -> str:
    runs, failures = counted(row, ledger)
    words = []
    if row.counted:
        words.append(bound(runs, failures))
    if row.gap:
        words.append(row.gap)
    return " ".join(words) or "by its tests only"


def counted(row: Row, ledger: Ledger) -> tuple[int, int]:
    """Runs and failures of the ledger that count for a row."""
    runs = failures = 0
    for name in row.counted:
        kind, _, beginning = name.partition("/")
        for point, entry in ledger.get(kind, {}).items():
            if point.startswith(beginning) or (beginning == "frozen" and point.endswith("frozen")):
                runs, failures = runs + int(entry["runs"]), failures + int(entry["failures"])
    return runs, failures


def bound(runs: int, failures: int) -> str:
    """In words what so many runs tell."""
    if not runs:
        return "not run yet"
    if failures:
        return f"{failures} of {runs:,} failed"
    return f"0 of {runs:,} failed: rate below {3 / runs:.2g}" if runs > 3 else f"0 of {runs} failed"


def _all(ledger: Ledger) -> list[str]:
    lines = ["| Kind | Point or shape | Runs | Failures | Last | Machine |", "|---|---|---|---|---|---|"]
    for kind, points in sorted(ledger.items()):
        for point, entry in sorted(points.items()):
            lines.append(f"| {kind} | {point} | {entry['runs']:,} | {entry['failures']} | {entry['last']} | {entry['machine']} |")
    return lines
