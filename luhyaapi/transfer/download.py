"""One download: what is here already is taken from here, the rest is asked for by blocks; each is checked before it is written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from luhyaapi import clock, log
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable, of
from luhyaapi.transfer import frames, giver, growing
from luhyaapi.transfer.base import Source, Transfer
from luhyaapi.transfer.beside import Beside
from luhyaapi.transfer.blocks import BLOCK, GROUP, HOLE, Index, digests, groups, numbers, ranges, read, spans, split
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.curl import Curl
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.sources import Place, Sources
from luhyaapi.transfer.sparse import HoledFile

T = TypeVar("T")
_log = log.get(__name__)
_LOOK_S = 0.1
_ASK_AT_MOST = 4000
"""Signs of a request that name blocks, at most."""
_OF_THE_LAST = 256
"""Blocks asked of the last resort at once while there are neighbours: soon they are asked again."""
_SLOW_S, _SLOW_BYTES = 5.0, 256 * 1024
"""A neighbour that gives less in so long is too slow."""

PROTOCOLS: dict[str, Transfer] = {scheme: Curl() for scheme in sorted(Curl.schemes)}


@dataclass(frozen=True)
class Patience:
    """How long a download goes on: ``total_s`` in all, ``idle_s`` without a single new byte (seconds).

    ``hopes``: a last resort that says it has it not may have it later.
    """

    total_s: float = 3600.0
    idle_s: float = 120.0
    hopes: bool = False


class Download:
    """Brings one blob into a cache. ``position`` counts the bytes that are here, for those who watch; ``moved`` those that came.

    What came and is verified others may have at once: see :mod:`luhyaapi.transfer.growing`. With a ``demand`` it says which
    order the blocks come in, and hears of each that came. ``threaded``: what came is written while more comes.
    """

    def __init__(
        self, cache: BlobCache, blob: Blob, stop: threading.Event, patience: Patience, demand: Demand | None = None, *, threaded: bool = True,
    ) -> None:
        self.position = self.moved = 0
        self._demand, self._is_threaded = demand, threaded
        self._cache, self._blob, self._stop, self._patience = cache, blob, stop, patience
        self._sources = Sources()
        self._part = cache.part(blob.sha256)
        self._lacking: dict[bytes, list[int]] = {}
        self._begun = self._fed = clock.monotonic()
        self._held_s = 0.0
        self._refusal: Trouble | None = None
        self._growing: growing.Growing | None = None

    def offer(self, source: Source, neighbours: Sequence[Source] = ()) -> None:
        """One more place to get it from, the newest is asked first; and neighbours that may have some of it, asked before all others."""
        self._refusal = None
        self._sources.offer(source, neighbours)

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
            # the index is small, and who gives it must not be waited for
            index = self._persist(self._ask_index, last_first=True) if self._blob.size else Index(0, b"")
            self._lacking = _places(index)
            self.position = index.size - index.filled()
            with HoledFile(self._part, index.size) as file:
                self._growing = growing.begin(self._cache.folder, self._blob.sha256, self._part, index, *([self._demand.ask] if self._demand else []))
                self._look_through(file, index)
                self._cache.room(self._left(index))
                if self._demand:
                    self._demand.opens(file.fileno(), (n for n, name in enumerate(index) if name not in self._lacking))
                self._take_from_here(file, index)
                while self._lacking:
                    self._go_on()
                    # whoever waits for a block waits for nobody who may not have it
                    is_urgent = self._demand is not None and self._demand.is_waited_for
                    self._persist(lambda place: self._ask_blocks(place, file, index), last_first=is_urgent)
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
        finally:
            if self._growing:
                growing.end(self._cache.folder, self._blob.sha256, self._growing)

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

    def _take(
        self, found: Iterable[tuple[bytes, memoryview]], file: HoledFile, index: Index, *, there: int = -1, frame: bytes = b"",
    ) -> None:
        """Write blocks wherever they are lacking; ``there`` one is already. They came in ``frame``."""
        came: list[int] = []
        for name, block in found:
            places = self._lacking.pop(name, ())
            for number in places:
                if number != there:
                    file.put(number * BLOCK, block)
                self.position += index.length(number)
            came += places
        if came and self._growing:
            self._growing.add(came, frame)
        if came and self._demand:
            self._demand.came(came)

    def _left(self, index: Index) -> int:
        return sum(index.length(n) for places in self._lacking.values() for n in places)

    # ---- what is elsewhere

    def _ask_index(self, place: Place) -> Index:
        data = bytearray()

        def take(piece: bytes) -> None:
            data.extend(piece)
            if len(data) > giver.largest(self._blob.size):
                raise Failed("digest", "Another index came than expected", "it is larger than that of this file can be")

        self._get(place, "index", take)
        return giver.unsqueeze(bytes(data), self._blob.size, self._blob.index)

    def _ask_blocks(self, place: Place, file: HoledFile, index: Index) -> None:
        """Ask once for as much as a request can name."""
        before = len(self._lacking)
        wanted = self._wanted(place, index)
        if not wanted:
            return  # it was cut behind the last of them, or they have time
        reader, came = frames.Reader(), 0

        def keep(frame: bytes) -> None:
            self._take(frames.unpack(frame), file, index, frame=frame)

        def take(data: bytes) -> None:
            nonlocal came
            for frame in reader.feed(data):
                came += 1
                keeping.put(frame)

        with Beside(keep, threaded=self._is_threaded and len(wanted) > GROUP) as keeping:
            try:
                self._get(place, f"blocks?want={ranges(wanted)}", take)
                keeping.drain()
                if reader.rest:
                    raise Unavailable("transfer", "The transfer was cut", "the other side stopped early")
            except Unavailable:
                keeping.drain()
                self._take(frames.beginning(reader.rest), file, index)
                raise
        if len(self._lacking) == before and came:
            raise Failed("digest", "Other bytes came than expected", "none of the blocks that were asked for")
        if len(self._lacking) == before:
            raise Unavailable("transfer", "The bytes did not arrive", "the other side has none of the lacking blocks now")

    def _wanted(self, place: Place, index: Index) -> list[int]:
        """Block numbers, rising, as many as a request can name."""
        if self._demand:
            return self._demand.pick(lambda number: index[number] in self._lacking)
        lacking = sorted(places[0] for places in self._lacking.values())
        if place.is_last and self._sources.has_neighbours:
            lacking = lacking[:_OF_THE_LAST]
        text = ranges(lacking)
        return lacking if len(text) <= _ASK_AT_MOST else numbers(text[:_ASK_AT_MOST].rpartition(",")[0], len(index))

    def _get(self, place: Place, what: str, take: Callable[[bytes], None]) -> None:
        def counted(data: bytes) -> None:
            self.moved += len(data)
            self._held_s += self._cache.pace.wait(len(data), self._stop)
            take(data)

        watch = _Watch(self._stop, self._slowness(place))
        at = replace(place.source, url=f"{place.source.url}/{what}")
        try:
            PROTOCOLS[urlsplit(at.url).scheme].get(at, counted, watch.stops)
        except Refused as e:
            if watch.why and e.code == "cancelled":
                raise Unavailable("transfer", "The transfer was broken off", watch.why) from e
            raise

    def _slowness(self, place: Place) -> Callable[[], bool]:
        def spent() -> float:
            return clock.monotonic() - self._held_s  # what we wait by ourselves is nobody's slowness

        since, before = spent(), self.moved

        def is_slow() -> bool:
            nonlocal since, before
            if place.is_last or spent() - since <= _SLOW_S:
                return False
            came, since, before = self.moved - before, spent(), self.moved
            return came < _SLOW_BYTES

        return is_slow

    def _persist(self, ask: Callable[[Place], T], *, last_first: bool = False) -> T:
        """Ask where it may be, again after a cut, while the patience lasts; who refuses, or lies, is asked no more."""
        while True:
            place, _ = self._sources.next(last_first=last_first)
            before = self.moved
            try:
                return ask(place)
            except Unavailable as cut:
                self._was_cut(place, cut, came=self.moved > before)
            except (Refused, Failed) as e:
                self._go_on()
                if e.code == "not_found" and (not place.is_last or self._patience.hopes):
                    # it may be about to fetch it itself
                    self._was_cut(place, Unavailable("transfer", e.what, e.why), came=False)
                elif (place.is_last and isinstance(e, Failed)) or not self._sources.drop(place):
                    raise
                elif place.is_last:
                    self._refusal = e
            self._go_on()

    def _was_cut(self, place: Place, cut: Unavailable, *, came: bool) -> None:
        """Go on elsewhere, or wait; raises when that would be in vain."""
        if came:
            self._fed = clock.monotonic()
            place.did_well()
        place.rest()
        _log.info("transfer cut", sha256=self._blob.sha256, position=self.position, why=str(cut))
        _, wait_s = self._sources.next()
        now, patience = clock.monotonic(), self._patience
        if now - self._fed + wait_s > patience.idle_s or now - self._begun + wait_s > patience.total_s:
            # without a last resort there is nothing to hope for
            raise self._refusal or Unavailable("transfer", "The bytes did not arrive", cut.why or str(cut)) from cut
        clock.wait(self._stop, wait_s)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Refused("cancelled", "Fetching the image was cancelled")


class _Watch:
    """Says when a transfer shall end before its time, and then why; ``is_slow`` tells, of a neighbour, whether it gives too little."""

    def __init__(self, stop: threading.Event, is_slow: Callable[[], bool]) -> None:
        self._stop, self._is_slow = stop, is_slow
        self.why = ""

    def stops(self) -> bool:
        """Asked often while bytes move, and now and then while none do."""
        if self._is_slow():
            self.why = "the other side is too slow"
        return bool(self.why) or self._stop.is_set()


def _places(index: Index) -> dict[bytes, list[int]]:
    """Where each block lies in a file, without the holes."""
    places: dict[bytes, list[int]] = {}
    for number, name in enumerate(index):
        if name != HOLE:
            places.setdefault(name, []).append(number)
    return places
