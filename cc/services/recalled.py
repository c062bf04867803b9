"""What nodes said of instances whose place this cluster does not know: memory of this process, and disposable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recalled:
    """A question to a node and its answer. ``at``: when it was asked, and from the answer on when that came (seconds since 1970)."""

    node: str
    at: float
    answered: bool = False
    runs: bool = False
    """There is a guest which the node was not told to run."""
