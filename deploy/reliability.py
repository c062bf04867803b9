"""The page of promises: what was asked for in numbers, each fault with its tests, and what the runs of the ledger bound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.attack_table import ATTACKS
from deploy.fault_table import FAULTS, FIGURES, PROMISES, WITH, Figure, Row

_ATTACKS = """\
Each has a canary that would be touched if it came through. `make soak ONLY=attacks` runs every test of the table once and counts its
cases, as each run of it does; numbers below A80 as in the list of what was studied, which has further ones on other parts.
"""
_BUGS = """\
Each is planted in the program of a test's own process, and looked for in the seeds from 0 on, or by the part of the suite that is named;
it is caught when what was found is not there without it. `make soak ONLY=bugs` does it again.
"""
Ledger = dict[str, dict[str, dict[str, Any]]]
_HEAD = """\
What is promised when things break, the tests that show it, and how often it was tried. `make soak MINUTES=N` runs more and adds
to `docs/ledger.json`; nobody edits counts by hand. After N runs without a failure the rate of failures is, with 95 % confidence,
below 3/N; where something failed, N is what ran since. What failed stays counted also after it was mended; `make soak ONLY=replays`
runs it again with the program as it is now.
"""
_FEW = 3
"""So many runs or fewer bound nothing: a rate below 1 is no news."""


def page(ledger_file: Path, note: str) -> str:
    """The whole page in Markdown."""
    ledger: Ledger = json.loads(ledger_file.read_text("utf-8")) if ledger_file.exists() else {}
    parts = ["# Reliability\n", note, _HEAD, *_figures(ledger), "\n## Promises\n", *_table(PROMISES, ledger), "\n## Faults\n", *_table(FAULTS, ledger)]
    parts += ["\n## Attacks\n", _ATTACKS, *_table(ATTACKS, ledger, "What is tried")]
    parts += ["\n## Seeds\n", *_seeds(ledger), "\n## Deliberate bugs\n", _BUGS, *_bugs(ledger), "\n## The ledger\n", *_all(ledger)]
    return "\n".join(parts)


def _table(rows: tuple[Row, ...], ledger: Ledger, title: str = "What happens") -> list[str]:
    lines = [f"| | {title} | What is promised | Tests | Runs |", "|---|---|---|---|---|"]
    for row in rows:
        tests = "<br>".join(f"`{t.removeprefix('tests/')}`" for t in row.tests) or "none"
        lines.append(f"| {row.name} | {row.title} | {row.promise} | {tests} | {_runs(row, ledger)} |")
    return lines


def _runs(row: Row, ledger: Ledger) -> str:
    names = [name for name in row.counted if not name.startswith(WITH)]
    words = [bound(counted(tuple(names), ledger))] if names else []
    words += [_with(name.removeprefix(WITH), ledger) for name in row.counted if name.startswith(WITH)]
    told = ["; ".join(words) + "."] if words else []
    return " ".join([*told, row.gap]).strip() or "by its tests only"


@dataclass(frozen=True)
class Counts:
    """Of one or several points: ``clean`` runs of those that never failed; of the others ``runs``, and ``failures`` among them.

    Of the failures so many are ``mended`` and pass now; so many ran ``since`` the last failure of each point.
    """

    clean: int = 0
    runs: int = 0
    failures: int = 0
    mended: int = 0
    since: int = 0

    def plus(self, entry: dict[str, Any]) -> Counts:
        """With those of one point more."""
        if not entry["failures"]:
            return Counts(self.clean + int(entry["runs"]), self.runs, self.failures, self.mended, self.since)
        return Counts(
            self.clean, self.runs + int(entry["runs"]), self.failures + int(entry["failures"]), self.mended + len(entry.get("mended", [])),
            self.since + int(entry.get("since", 0)),
        )


def counted(names: tuple[str, ...], ledger: Ledger) -> Counts:
    """What the ledger counts under these names: a kind; with a slash the beginning of its points, or after a star what is in them."""
    found, points = Counts(), {}
    for name in names:
        kind, _, part = name.partition("/")
        for point, entry in ledger.get(kind, {}).items():
            if part[1:] in point if part.startswith("*") else point.startswith(part):
                points[kind, point] = entry
    for entry in points.values():
        found = found.plus(entry)
    return found


def bound(counts: Counts) -> str:
    """In words what so many runs tell."""
    if not counts.failures:
        return _none_of(counts.clean) if counts.clean else "not run yet"
    which = "each" if counts.mended == counts.failures else f"{counts.mended}" if counts.mended else "none"
    words = f"{counts.runs:,} runs, {counts.failures} failed, {which} of them mended and passing now; since then {_none_of(counts.since)}"
    return f"{words}; elsewhere {_none_of(counts.clean)}" if counts.clean else words


def _none_of(runs: int) -> str:
    return f"0 of {runs:,} failed: {f'rate below {3 / runs:.2g}' if runs > _FEW else 'too few to bound'}"


def _with(what: str, ledger: Ledger) -> str:
    """Of the seeds in which something came; they are told apart since that day only."""
    entry = ledger.get("seeds", {}).get("seeds", {})
    kept = entry.get("with", {})
    if not kept.get("runs", {}).get(what):
        return "no seed with it counted yet"
    failed = kept["failed"].get(what, [])
    passing = {int(replay.rpartition(" ")[2]) for replay in entry.get("mended", [])}
    one = {"runs": kept["runs"][what], "failures": len(failed), "mended": [n for n in failed if n in passing], "since": kept["since"][what]}
    return f"seeds with it, counted since {kept['counted_since']}: {bound(Counts().plus(one))}"


# ---- the six figures, seeds and bugs


def _figures(ledger: Ledger) -> list[str]:
    lines = ["## In numbers\n", "A run failed when something was lost, was there twice, was stuck or leaked, or when any other promise was broken.\n",
             "| What | Asked for | Counted | Failed | Where |", "|---|---|---|---|---|"]
    return [*lines, *(_figure(each, ledger) for each in FIGURES)]


def _figure(figure: Figure, ledger: Ledger) -> str:
    entries = {p: e for p, e in ledger.get(figure.kind, {}).items() if p.startswith(figure.beginning)}
    if figure.kind == "bugs":
        caught = sum(bool(e.get("caught")) for e in entries.values())
        return f"| {figure.what} | {figure.asked} | {caught} of {len(entries)} caught | {len(entries) - caught} not caught | below |"
    counts = counted((f"{figure.kind}/{figure.beginning}",), ledger)
    failed = "0"
    if counts.failures:
        which = "each" if counts.mended == counts.failures else f"{counts.mended}"
        failed = f"{counts.failures}, {which} of them mended and passing now; 0 of the {counts.since:,} since"
    places: dict[str, int] = {}
    for point, entry in entries.items():
        place = point.partition(" ")[0] if figure.by_role else point
        places[place] = places.get(place, 0) + int(entry["runs"])
    where = ", ".join(f"{place} {runs:,}" for place, runs in sorted(places.items())) if len(places) > 1 else ""
    return f"| {figure.what} | {figure.asked} | {counts.clean + counts.runs:,} | {failed} | {where} |"


def _seeds(ledger: Ledger) -> list[str]:
    entry = ledger.get("seeds", {}).get("seeds", {})
    lines = ["A seed brings a part of all faults and actions, drawn by chance.\n"]
    if rate := entry.get("rate"):
        lines.append(f"The last run of {rate['seeds']:,} seeds on {entry['machine']}: {rate['per_s']:g} seeds a second in {rate['jobs']} "
                     f"process{'es' if rate['jobs'] > 1 else ''}, beside whatever else ran there; {rate['per_cpu_s']:g} for each second of one core.\n")
    if kept := entry.get("with"):
        runs = sum(int(end) - int(first) for first, _, end in (span.partition(":") for span in kept["spans"].split()))
        each = ", ".join(f"{what} {n:,}" for what, n in sorted(kept["runs"].items()))
        lines.append(f"In how many of the {runs:,} seeds that ran since {kept['counted_since']} each thing came, or who died where: {each}.")
    return lines


def _bugs(ledger: Ledger) -> list[str]:
    lines = ["| Bug | What it does | Caught | Seeds looked at |", "|---|---|---|---|"]
    for name, e in sorted(ledger.get("bugs", {}).items()):
        caught = str(e.get("caught", ""))
        lines.append(f"| {name} | {e.get('what', '')} | {caught or 'no'} | {e['after'] if caught.startswith('at seed') else ''} |")
    return lines


def _all(ledger: Ledger) -> list[str]:
    lines = ["| Kind | Point or shape | Runs | Failures | Last | Machine |", "|---|---|---|---|---|---|"]
    for kind, points in sorted(ledger.items()):
        for point, entry in sorted(points.items()):
            lines.append(f"| {kind} | {point} | {entry['runs']:,} | {_failures(entry)} | {entry['last']} | {entry['machine']} |")
    return lines


def _failures(entry: dict[str, Any]) -> str:
    mended = len(entry.get("mended", []))
    return f"{entry['failures']}, {mended} pass now" if mended else str(entry["failures"])
