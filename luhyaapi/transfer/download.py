"""One download: what is here already is taken from here, the rest is asked for by blocks; each is checked before it is written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from luhyaapi import clock, log
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Unavailable, of
from luhyaapi.transfer import frames, giver
from luhyaapi.transfer.base import Source, Transfer
from luhyaapi.transfer.blocks import BLOCK, HOLE, Index, digests, groups, ranges, read, spans, split
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.curl import Curl
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.sparse import HoledFile

T = TypeVar("T")
_log = log.get(__name__)
_LOOK_S = 0.1
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_ASK_AT_MOST = 4000
"""Signs of a request that name blocks, at most."""

PROTOCOLS: dict[str, Transfer] = {scheme: Curl() for scheme in sorted(Curl.schemes)}


@dataclass(frozen=True)
class Patience:
    """How long a download goes on: ``total_s`` in all, ``idle_s`` without a single new byte (seconds)."""

    total_s: float = 3600.0
    idle_s: float = 120.0


class Download:
    """Brings one blob into a cache. ``position`` counts the bytes that are here, for those who watch; ``moved`` those that came.

    With a ``demand`` it says which order they come in, and hears of each that came.
    """

    def __init__(
        self, cache: BlobCache, blob: Blob, stop: threading.Event, patience: Patience, demand: Demand | None = None,
    ) -> None:
        self.position = self.moved = 0
        self._demand = demand
        self._cache, self._blob, self._stop, self._patience = cache, blob, stop, patience
        self._sources: list[Source] = []
        self._part = cache.part(blob.sha256)
        self._lacking: dict[bytes, list[int]] = {}
        self._begun = self._fed = clock.monotonic()
        self._pause = _FIRST_PAUSE_S

    def offer(self, source: Source) -> None:
        """One more place to get it from; the newest is asked first."""
        if source not in self._sources:
            self._sources.append(source)

    def run(self) -> Path:
        """The complete, checked file. Errors as :func:`luhyaapi.transfer.courier.fetch` says."""
        while True:
            with self._cache.fetching(self._blob.sha256) as ours:
                here = self._cache.path(self._blob.sha256)
                if here:
                    return here
                if ours:
                    return self._bring()
            self._watch_other()

    def _watch_other(self) -> None:
        """Another process downloads it: look how far it is."""
        with contextlib.suppress(FileNotFoundError):
            self.position = min(self._part.stat().st_blocks * 512, self._blob.size)
        if clock.wait(self._stop, _LOOK_S):
            raise Refused("cancelled", "Fetching the image was cancelled")

    def _bring(self) -> Path:
        try:
            index = self._persist(self._ask_index) if self._blob.size else Index(0, b"")
            self._lacking = _places(index)
            self.position = index.size - index.filled()
            with HoledFile(self._part, index.size) as file:
                self._look_through(file, index)
                self._cache.room(self._left(index))
                if self._demand:
                    self._demand.opens(file.fileno(), (n for n, name in enumerate(index) if name not in self._lacking))
                self._take_from_here(file, index)
                while self._lacking:
                    self._go_on()
                    self._persist(lambda source: self._ask_blocks(source, file, index))
                file.sync()
            return self._cache.adopt(self._part, self._blob.sha256, index)
        except Unavailable:
            raise
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise of(error) from error
        except Exception:
            self._part.unlink(missing_ok=True)
            raise

    # ---- what is here

    def _look_through(self, file: HoledFile, index: Index) -> None:
        """Keep of an earlier half file what is right in it."""
        for first, data in groups(file.fileno(), index.size):
            for number, (name, block) in enumerate(zip(digests(data), split(data), strict=True), first):
                if name == index[number]:
                    self._take([(name, block)], file, index, there=number)
                elif index[number] == HOLE:
                    file.put(number * BLOCK, bytes(len(block)))
            self._go_on()

    def _take_from_here(self, file: HoledFile, index: Index) -> None:
        """Blocks that lie in other files of the cache, the latest used first."""
        for path in self._cache.latest():
            if not self._lacking:
                return
            for data in self._shared(path):
                self._take(zip(digests(data), split(data), strict=True), file, index)
                self._go_on()

    def _shared(self, path: Path) -> Iterator[bytes]:
        """What another file has of what is lacking, in pieces; nothing of one that is evicted meanwhile, or cannot be read."""
        try:
            other = self._cache.index(path.name)
            with path.open("rb") as opened:
                for first, end in spans(number for number, name in enumerate(other) if name in self._lacking):
                    yield read(opened.fileno(), first * BLOCK, min(end * BLOCK, other.size) - first * BLOCK)
        except (OSError, Refused) as e:
            _log.info("not taken from", sha256=path.name, why=str(e))

    def _take(self, found: Iterable[tuple[bytes, memoryview]], file: HoledFile, index: Index, there: int = -1) -> None:
        """Write blocks wherever they are lacking; ``there`` one is already."""
        came: list[int] = []
        for name, block in found:
            numbers = self._lacking.pop(name, ())
            for number in numbers:
                if number != there:
                    file.put(number * BLOCK, block)
                self.position += index.length(number)
            came += numbers
        if self._demand and came:
            self._demand.came(came)

    def _left(self, index: Index) -> int:
        return sum(index.length(n) for places in self._lacking.values() for n in places)

    # ---- what is elsewhere

    def _ask_index(self, source: Source) -> Index:
        data = bytearray()

        def take(piece: bytes) -> None:
            data.extend(piece)
            if len(data) > giver.largest(self._blob.size):
                raise Failed("digest", "Another index came than expected", "it is larger than that of this file can be")

        self._get(source, "index", take)
        return giver.unsqueeze(bytes(data), self._blob.size, self._blob.index)

    def _ask_blocks(self, source: Source, file: HoledFile, index: Index) -> None:
        """Ask once for as much as a request can name."""
        before = len(self._lacking)
        wanted = self._wanted(index)
        if not wanted:
            return  # it was cut behind the last of them, or they have time
        reader = frames.Reader()

        def take(data: bytes) -> None:
            for frame in reader.feed(data):
                self._take(frames.unpack(frame), file, index)

        try:
            self._get(source, f"blocks?want={wanted}", take)
            if reader.rest:
                raise Unavailable("transfer", "The transfer was cut", "the other side stopped early")
        except Unavailable:
            self._take(frames.beginning(reader.rest), file, index)
            raise
        if len(self._lacking) == before:
            raise Failed("digest", "Other bytes came than expected", "none of the blocks that were asked for")

    def _wanted(self, index: Index) -> str:
        if self._demand:
            return ranges(self._demand.pick(lambda number: index[number] in self._lacking))
        text = ranges(sorted(places[0] for places in self._lacking.values()))
        return text if len(text) <= _ASK_AT_MOST else text[:_ASK_AT_MOST].rpartition(",")[0]

    def _get(self, source: Source, what: str, take: Callable[[bytes], None]) -> None:
        def counted(data: bytes) -> None:
            self.moved += len(data)
            take(data)

        at = replace(source, url=f"{source.url}/{what}")
        PROTOCOLS[urlsplit(source.url).scheme].get(at, counted, self._stop.is_set)

    def _persist(self, ask: Callable[[Source], T]) -> T:
        """Ask the newest source, again after a cut, while the patience lasts; one that refuses is asked no more."""
        while True:
            before, source = self.moved, self._sources[-1]
            try:
                return ask(source)
            except Unavailable as cut:
                now = clock.monotonic()
                if self.moved > before:
                    self._fed, self._pause = now, _FIRST_PAUSE_S
                patience = self._patience
                if now - self._fed + self._pause > patience.idle_s or now - self._begun + self._pause > patience.total_s:
                    raise Unavailable("transfer", "The bytes did not arrive", cut.why or str(cut)) from cut
                _log.info("transfer cut", sha256=self._blob.sha256, position=self.position, why=str(cut))
                clock.wait(self._stop, self._pause)
                self._pause = min(self._pause * 2, _LONGEST_PAUSE_S)
            except Refused:
                self._sources.remove(source)
                if not self._sources:
                    raise
            self._go_on()

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Refused("cancelled", "Fetching the image was cancelled")


def _places(index: Index) -> dict[bytes, list[int]]:
    """Where each block lies in a file, without the holes."""
    places: dict[bytes, list[int]] = {}
    for number, name in enumerate(index):
        if name != HOLE:
            places.setdefault(name, []).append(number)
    return places
