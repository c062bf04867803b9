"""What a row of docs/performance.md is: ours beside a peer, always ours divided by the peer's, and whether the goal is met.

A figure is a key of ``runs`` in ``bench/results/<of>.json``. Nothing here measures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["lower", "higher"]
Runs = Mapping[str, Sequence[float]]
AT: dict[str, Callable[[Sequence[float]], float]] = {"median": statistics.median, "most": max, "least": min}
NOT_YET = "not measured yet"


@dataclass(frozen=True)
class Quoted:
    """A peer's figure that was not measured in the same run."""

    figure: float
    unit: str


@dataclass(frozen=True)
class Row:
    """``what`` is measured by the benchmark ``of``; ``ours`` and ``peer`` are keys of its runs.

    ``named``: what the peer is called, or why there is none. ``limit``: the most our figure may be where lower is better, the least
    where higher is. ``ratio``: the same for ours / peer. ``note``: why a goal is missed, or what is to be known of one that is met.
    ``at``: which of several runs counts. ``unit``: of both figures, where the key's last words do not say it.
    """

    of: str
    what: str
    ours: str
    better: Better
    named: str
    peer: str | Quoted = ""
    limit: float | None = None
    ratio: float | None = None
    note: str = ""
    at: str = "median"
    unit: str = ""


@dataclass(frozen=True)
class Found:
    """The figures of a row. ``peer`` and ``ratio`` are None without a peer's figure, ``met`` without a goal, or where one of a goal's figures is missing."""

    ours: float
    peer: float | None
    ratio: float | None
    met: bool | None


def found(row: Row, runs: Runs) -> Found | None:
    """What a benchmark's runs say of it; None when they have not measured it."""
    if row.ours not in runs:
        return None
    ours = AT[row.at](runs[row.ours])
    peer, ratio = None, None
    if isinstance(row.peer, Quoted):
        peer = row.peer.figure
    elif row.peer in runs:
        peer = AT[row.at](runs[row.peer])
    if peer:
        ratio = _paired(runs[row.ours], runs[row.peer]) if isinstance(row.peer, str) and row.at == "median" else ours / peer
    return Found(ours, peer, ratio, _met(row, ours, ratio))


def _paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of rounds; of the medians where one side ran less often."""
    if len(ours) == len(theirs) and all(theirs):
        return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return statistics.median(ours) / statistics.median(theirs)


def _met(row: Row, ours: float, ratio: float | None) -> bool | None:
    goals = [(row.limit, ours), (row.ratio, ratio)]
    judged = [(figure <= goal if row.better == "lower" else figure >= goal) for goal, figure in goals if goal is not None and figure is not None]
    if False in judged:
        return False
    return True if judged and len(judged) == sum(goal is not None for goal, _ in goals) else None


def told(rows: Sequence[Row], of: str, runs: Runs) -> list[dict[str, Any]]:
    """The rows of one benchmark as they are kept in its result."""
    return [
        {"what": row.what, "ours": seen.ours, "peer": seen.peer, "peer_is": row.named, "ratio": seen.ratio, "better": row.better, "limit": row.limit,
         "ratio_limit": row.ratio, "met": seen.met}
        for row in rows if row.of == of and (seen := found(row, runs))
    ]
