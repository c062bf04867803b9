"""A transfer protocol in memory that cuts, lies and fails as told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer.base import Ability, Cancelled, Source, Span


@dataclass
class FaultyTransfer:
    """Serves ``content`` in pieces; each entry of ``faults`` is used up by one get, in order.

    Faults: an int cuts after so many bytes; an exception is raised at once; "whole" ignores the wanted start;
    "lie" announces one byte more; "more" sends one byte more than announced; "elsewhere" begins at a wrong place.
    """

    content: bytes
    faults: list[object] = field(default_factory=list)
    piece: int = 1000
    gate: threading.Event | None = None
    gets: list[tuple[str, int]] = field(default_factory=list)
    sent: int = 0
    schemes: frozenset[str] = frozenset({"fake"})
    can: frozenset[Ability] = frozenset({Ability.GET, Ability.RESUME})

    def get(
        self, source: Source, start: int, begin: Callable[[Span], None], take: Callable[[bytes], None], stopped: Cancelled
    ) -> None:
        self.gets.append((source.headers["Authorization"], start))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, BaseException):
            raise fault
        start = 0 if fault == "whole" else start
        begin(Span(start + (1 if fault == "elsewhere" else 0), len(self.content) + (1 if fault == "lie" else 0)))
        if self.gate:
            while not self.gate.wait(0.01):
                if stopped():
                    raise Refused("cancelled", "The transfer was cancelled")
        end = start + fault if isinstance(fault, int) else len(self.content)
        for at in range(start, min(end, len(self.content)), self.piece):
            piece = self.content[at : min(at + self.piece, end)]
            self.sent += len(piece)
            take(piece)
        if fault == "more":
            take(b"!")
        if isinstance(fault, int):
            raise Unavailable("transfer", "The transfer was cut", "as told")
