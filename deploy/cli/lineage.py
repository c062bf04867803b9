"""The lineage of an image as text: one line a version, newest first, a column for each branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def drawn(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """The columns beside each version, newest first: ``*`` is it, ``|`` a branch that goes on, ``-'`` where one begins."""
    rows = list(reversed(nodes))
    at = {node["version"]: row for row, node in enumerate(rows)}
    # a branch reaches from its newest version down to the row of the version it began at, if that is shown
    tops, ends = dict[int, int](), dict[int, int]()
    for row, node in enumerate(rows):
        tops.setdefault(node["lane"], row)
        ends[node["lane"]] = at.get(node["parent_version"], row)
    return [_line(row, node["lane"], tops, ends) for row, node in enumerate(rows)]


def _line(row: int, own: int, tops: dict[int, int], ends: dict[int, int]) -> str:
    last = max(tops)
    begins = {lane for lane in tops if lane > own and ends[lane] == row and tops[lane] < row}
    text = ""
    for lane in range(last + 1):
        sign = "*" if lane == own else "'" if lane in begins else "|" if lane in tops and tops[lane] < row < ends[lane] else " "
        reach = "-" if any(own <= lane < other for other in begins) else " "
        text += (reach if sign == " " and reach == "-" else sign) + reach
    return text.rstrip()
