"""What nodes said of instances whose place this cluster does not know: memory of this process, and disposable."""

from __future__ import annotations

from dataclasses import dataclass

from luhyaapi.contracts.reports import MachineFacts


@dataclass(frozen=True)
class Listing:
    """Which instances a node has; None until it has said that. ``at``: when it was asked, in seconds since 1970."""

    at: float
    instances: frozenset[str] | None = None


@dataclass(frozen=True)
class Recalled:
    """A question to a node and its answer. ``at``: when it was asked, and from the answer on when that came (seconds since 1970).

    ``fence``: that of the order which asked.
    """

    node: str
    at: float
    fence: int = 0
    said: MachineFacts | None = None
    hinders: str = ""
    """Why the answer is not that nothing is there."""
