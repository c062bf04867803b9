"""docs/performance.md: its sentences are written by hand, its tables between marks are made of ``bench/results``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.rows import NOT_YET, Found, Quoted, Row, found
from bench.tables import TABLES

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/performance.md"
RESULTS = ROOT / "bench" / "results"
_TABLE = re.compile(r"<!-- table (\w+) -->\n.*?<!-- end -->", re.DOTALL)
_HEAD = "| what | ours | peer | ours / peer | better | goal | met, or why not |\n|---|---|---|---|---|---|---|\n"
_UNIT = re.compile(r"[,:] (s|ms|us|MB|MiB|MB/s)$")
_SMALLER = {"s": ("ms", 1e3), "ms": ("us", 1e3)}
_SMALL = 0.0999


def text(page: Path = ROOT / PAGE, results: Path = RESULTS) -> str:
    """The page as it should be, made of how it is now. Raises KeyError for a mark of a table that there is none of."""
    known = {file.stem: json.loads(file.read_text()) for file in sorted(results.glob("*.json")) if not file.stem.endswith(".local")}
    return _TABLE.sub(lambda mark: f"<!-- table {mark[1]} -->\n{_made(mark[1], known)}<!-- end -->", page.read_text("utf-8"))


def _made(name: str, known: dict[str, Any]) -> str:
    return _measured(known) if name == "measured" else _HEAD + "".join(line(row, known.get(row.of)) for row in TABLES[name])


def line(row: Row, result: dict[str, Any] | None) -> str:
    """A row of the page; says when it was not measured."""
    seen = found(row, result["runs"]) if result else None
    unit = row.unit or unit_of(row.ours)
    goal = ", ".join(part for part in (_goal(row, row.limit, unit), _goal(row, row.ratio, "", "ratio ")) if part)
    if seen is None:
        return _joined(row.what, NOT_YET, row.named, "", row.better, goal, row.note)
    met = {True: "yes", False: "no", None: ""}[seen.met]
    ratio = "" if seen.ratio is None else _number(seen.ratio)
    return _joined(row.what, figure(seen.ours, unit), _peer(row, seen, unit), ratio, row.better, goal, ": ".join(part for part in (met, row.note) if part))


def _peer(row: Row, seen: Found, unit: str) -> str:
    if isinstance(row.peer, Quoted):
        return f"{row.named} {figure(row.peer.figure, row.peer.unit)} (quoted)"
    if seen.peer is not None:
        return f"{row.named} {figure(seen.peer, unit)}"
    return f"{row.named}: {NOT_YET}" if row.peer else row.named


def _joined(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def unit_of(key: str) -> str:
    """The unit a figure's name ends with, after a comma or a colon; empty for a plain number."""
    unit = _UNIT.search(key)
    return unit[1] if unit else ""


def figure(value: float, unit: str) -> str:
    """Three digits and a unit that fits."""
    while unit in _SMALLER and 0 < value < _SMALL:
        unit, times = _SMALLER[unit]
        value *= times
    return f"{_number(value)} {unit}".strip()


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _goal(row: Row, goal: float | None, unit: str, before: str = "") -> str:
    return "" if goal is None else f"{before}at {'most' if row.better == 'lower' else 'least'} {figure(goal, unit)}"


def _measured(known: dict[str, Any]) -> str:
    """Where and when each result was measured: commit, load before, and whether that was too much."""
    lines = ["| result | commit | load before | machine |\n|---|---|---|---|\n"]
    for name, result in known.items():
        at = result["machine"]
        load = "not recorded" if at["load_before"] is None else f"{at['load_before']:.2f}{', too much' if at['busy'] else ''}"
        lines.append(_joined(f"`{name}`", at["commit"], load, f"{at['cpus']} x {at['cpu']}"))
    return "".join(lines)


def unknown(tables: dict[str, Sequence[Row]], page: str) -> set[str]:
    """Tables that stand nowhere on the page."""
    return set(tables) - {mark[1] for mark in _TABLE.finditer(page)}
