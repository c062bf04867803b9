"""A transfer protocol in memory that cuts, lies and fails as told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from luhyaapi import clock
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


@dataclass
class Uplink:
    """One host among many: gives what its giver has, as it comes, at most ``rate`` bytes a second to all together (0: any).

    ``dead``: it is cut off; ``dies_at``: once it sent so many bytes; ``stalls_at``: from there on it sends nothing, and holds the line.
    ``whole``: says whether the host itself has all of the file; what was sent before is counted in ``early``.
    """

    giver: giver.Giver
    rate: float = 0.0
    dies_at: int = -1
    stalls_at: int = -1
    dead: bool = False
    sent: int = 0
    early: int = 0
    whole: Callable[[], bool] = lambda: True
    asked: list[str] = field(default_factory=list)
    schemes: frozenset[str] = frozenset()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _free_at: float = 0.0

    def get(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        at = urlsplit(source.url)
        asked = dict(parse_qsl(at.query))
        self.asked.append(asked.get("want", ""))
        self._check(stopped)
        for frame in giver.answer(self.giver, *at.path.split("/")[-2:], asked):
            for start in range(0, len(frame), 64 * 1024):
                piece = frame[start : start + 64 * 1024]
                self._pace(len(piece))
                self._check(stopped)
                self.sent += len(piece)
                self.early += 0 if self.whole() else len(piece)
                take(piece)

    def _pace(self, size: int) -> None:
        if self.rate:
            with self._lock:
                self._free_at = max(self._free_at, clock.monotonic()) + size / self.rate
                until = self._free_at
            clock.sleep(max(until - clock.monotonic(), 0))

    def _check(self, stopped: Cancelled) -> None:
        while 0 <= self.stalls_at <= self.sent and not stopped():
            clock.sleep(0.01)
        if stopped():
            raise Refused("cancelled", "The transfer was cancelled")
        if self.dead or 0 <= self.dies_at <= self.sent:
            self.dead = True
            raise Unavailable("transfer", "The transfer was cut", "it died")
