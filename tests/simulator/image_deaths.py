"""Stories of one death each: a role dies at a named point while an image comes in, moves, is changed or goes. Their seeds say which."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulator.plan import Item, Plan

_DICE = (0.5, 0.9, 0.0, 0.0)
_MAKE = (("prepare", 0.5), ("space_start", 6.0), ("edit", 12.0))
WORK: dict[str, tuple[tuple[str, float], ...]] = {
    "upload": (("upload_disk", 16.0),),
    "run": (("run_disk", 16.0),),
    "submit": (*_MAKE, ("submit", 16.0)),
    "abandon": (*_MAKE, ("submit", 16.0), ("abandon", 16.5)),
    "retire": (("upload_disk", 2.0), ("upload_disk", 8.0), ("retire", 16.0)),
}
"""What clients do, when; one that dies is asked to abandon what it does before it is back."""
_ALL = ("journal: before write", "journal: before commit", "journal: after commit", "report: before post", "report: confirmed")
_BOSS = ("database: before write", "database: before commit", "database: after commit", "order: before post", "order: confirmed", "statement")
POINTS: dict[str, tuple[str, ...]] = {
    "clc": (*_ALL[:3], *_BOSS), "cc": (*_ALL, *_BOSS, "blob: before rename", "blob: after rename"),
    "nc1": (*_ALL, "blob: before rename", "blob: after rename", "file: before rename", "file: after rename", "push: before begin", "push: before send"),
    "walrus": (*_ALL, "pack: before put", "pack: after put", "object: before rename", "object: after rename", "manifest: before put",
               "manifest: after put", "draft: before write", "draft: begun", "draft: written", "collect: before delete"),
}
TIMES = 3
"""At the first, second and third passing of the point."""
_BEFORE = "die/"


def seeds() -> Iterator[str]:
    """Every story, in words: what is done, who dies where, at which passing."""
    for n in range(TIMES):
        for work in WORK:
            for role, points in POINTS.items():
                yield from (f"{_BEFORE}{work}/{role}/{point}/{n}" for point in points)


def is_one(seed: str) -> bool:
    """Whether a seed is such a story."""
    return seed.startswith(_BEFORE)


def make(seed: str) -> Plan:
    """Its plan. Nodes but the first are drained, so that whoever dies is at work."""
    _, work, role, point, n = seed.split("/")
    items = [Item(0.0, "client", "drain", (0.9, 0.0, 0.0, 0.0))]
    items += [Item(at, "client", name, _DICE) for name, at in WORK[work]]
    items.append(Item(15.5, "fault", "die", (), 0.0, f"{role}/{point}/{n}"))
    return Plan(seed, ("die",), tuple(WORK), tuple(sorted(items, key=lambda i: i.at)))
