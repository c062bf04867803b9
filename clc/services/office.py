"""What the CLC's relay process works with: the board, and how its own orders go down."""

from __future__ import annotations

from dataclasses import dataclass, field

from luhyaapi.status.board import Board


@dataclass(frozen=True)
class Office:
    """Handed to every reducer."""

    board: Board
    saved: dict[str, float] = field(default_factory=dict)
    """When the last sign of life of a host went into the database."""
