"""The page of promises: each fault with its tests, and what the runs of the ledger bound."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
below 3/N. What failed stays counted also after it was mended; `make soak ONLY=replays` runs it again with the program as it is now.
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
    words = [bound(counted(row, ledger))] if row.counted else []
    if row.gap:
        words.append(row.gap)
    return " ".join(words) or "by its tests only"


@dataclass(frozen=True)
class Counts:
    """Of one or several points: all ``runs``, ``failures`` among them, of which so many are ``mended`` and pass now, and the runs ``since`` the last."""

    runs: int = 0
    failures: int = 0
    mended: int = 0
    since: int = 0

    def plus(self, entry: dict[str, Any]) -> Counts:
        """With those of one point more."""
        return Counts(
            self.runs + int(entry["runs"]), self.failures + int(entry["failures"]), self.mended + len(entry.get("mended", [])),
            self.since + int(entry.get("since", 0) if entry["failures"] else entry["runs"]),
        )


def counted(row: Row, ledger: Ledger) -> Counts:
    """What the ledger counts for a row."""
    found = Counts()
    for name in row.counted:
        kind, _, beginning = name.partition("/")
        for point, entry in ledger.get(kind, {}).items():
            if point.startswith(beginning) or (beginning == "frozen" and point.endswith("frozen")):
                found = found.plus(entry)
    return found


def bound(counts: Counts) -> str:
    """In words what so many runs tell."""
    runs = counts.runs
    if not runs:
        return "not run yet"
    if counts.failures:
        which = "each of them" if counts.mended == counts.failures else f"{counts.mended} of them"
        mended = f", {which} was mended and passes now" if counts.mended else ""
        return f"{counts.failures} of {runs:,} failed{mended}; 0 of the {counts.since:,} since"
    return f"0 of {runs:,} failed: rate below {3 / runs:.2g}" if runs > 3 else f"0 of {runs} failed"


def _all(ledger: Ledger) -> list[str]:
    lines = ["| Kind | Point or shape | Runs | Failures | Last | Machine |", "|---|---|---|---|---|---|"]
    for kind, points in sorted(ledger.items()):
        for point, entry in sorted(points.items()):
            lines.append(f"| {kind} | {point} | {entry['runs']:,} | {_failures(entry)} | {entry['last']} | {entry['machine']} |")
    return lines


def _failures(entry: dict[str, Any]) -> str:
    mended = len(entry.get("mended", []))
    return f"{entry['failures']}, {mended} pass now" if mended else str(entry["failures"])
