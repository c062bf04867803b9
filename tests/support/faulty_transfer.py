"""A transfer protocol in memory that cuts, lies and fails as told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer import giver
from luhyaapi.transfer.base import Cancelled, Source
from luhyaapi.transfer.blocks import Index, index_of


@dataclass
class FaultyTransfer:
    """Gives the blocks of ``file``; each entry of ``faults`` is used up by one request for blocks, in order.

    Faults: an int cuts after so many bytes; an exception is raised at once; "less" leaves out the last frame; "none" sends
    nothing; "flip" turns a bit of the first piece; "other" sends frames of another file.
    """

    file: Path
    faults: list[object] = field(default_factory=list)
    piece: int = 1000
    gate: threading.Event | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    schemes: frozenset[str] = frozenset({"fake"})

    def index(self, _sha256: str) -> Index:
        return index_of(self.file)

    def frames(self, _sha256: str, wanted):
        return giver.of_file(self.file, index_of(self.file), wanted)

    @property
    def blocks(self) -> list[str]:
        """What was asked for, without the questions for the index."""
        return [want for _, want in self.asked if want]

    def get(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        at = urlsplit(source.url)
        asked = dict(parse_qsl(at.query))
        self.asked.append((source.headers["Authorization"], asked.get("want", "")))
        fault = self.faults.pop(0) if self.faults and asked else None
        if isinstance(fault, BaseException):
            raise fault
        if self.gate and asked:
            while not self.gate.wait(0.01):
                if stopped():
                    raise Refused("cancelled", "The transfer was cancelled")
        frames = list(giver.answer(self, *at.path.split("/")[-2:], asked))
        frames = {"less": frames[:-1], "none": []}.get(fault, frames) if isinstance(fault, str) else frames
        content = b"".join(frames)
        if fault == "flip":
            content = content[:100] + bytes([content[100] ^ 1]) + content[101:]
        end = fault if isinstance(fault, int) else len(content)
        for start in range(0, min(end, len(content)), self.piece):
            piece = content[start : min(start + self.piece, end)]
            self.sent += len(piece)
            take(piece)
        if isinstance(fault, int):
            raise Unavailable("transfer", "The transfer was cut", "as told")
