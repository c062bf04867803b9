"""The lineage of an image as a drawing: rows of words beside points and lines, newest first."""

from __future__ import annotations

from typing import Any

from clc.services import lineage
from luhyaapi.contracts.vocabulary import ImageState
from luhyadb.models import Image

ROW, LANE, EDGE = 44, 20, 14
Shown = dict[str, Any]


def of(image: Image) -> Shown:
    """``rows`` of words, and in pixels the ``width`` and ``height`` of the drawing, its ``points`` and the ``lines`` between them."""
    nodes = [n | {"word": ImageState(n["state"]), "short": (n["note"].splitlines() or [""])[0]} for n in reversed(lineage.of(image))]
    at = {n["version"]: (EDGE + LANE * n["lane"], ROW * row + ROW // 2) for row, n in enumerate(nodes)}
    lines = [
        {"d": _line(at[n["parent_version"]], at[n["version"]], back=n["came"] == "back"), "came": n["came"]}
        for n in nodes if n["parent_version"] in at
    ]
    lanes = max((n["lane"] for n in nodes), default=0)
    return {
        "rows": nodes, "width": 2 * EDGE + LANE * lanes, "height": ROW * len(nodes), "lines": lines,
        "points": [{"x": at[n["version"]][0], "y": at[n["version"]][1], "state": n["state"]} for n in nodes],
    }


def _line(older: tuple[int, int], newer: tuple[int, int], *, back: bool) -> str:
    """From a version up to one that was made from it: straight, into its branch, or for a way back in an arc beside the others."""
    (x, y), (to_x, to_y) = older, newer
    if back:
        return f"M{x} {y} C{x - EDGE} {y - ROW // 2} {to_x - EDGE} {to_y + ROW // 2} {to_x} {to_y}"
    if x == to_x:
        return f"M{x} {y} V{to_y}"
    return f"M{x} {y} C{x} {y - ROW // 2} {to_x} {y - ROW // 2} {to_x} {y - ROW} V{to_y}"
