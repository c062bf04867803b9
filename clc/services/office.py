"""What the CLC's relay process works with: the board, and how its own orders go down."""

from __future__ import annotations

from dataclasses import dataclass

from clc.services.hosts import SignsOfLife
from luhyaapi.status.board import Board


@dataclass(frozen=True)
class Office:
    """Handed to every reducer."""

    board: Board
    signs: SignsOfLife
