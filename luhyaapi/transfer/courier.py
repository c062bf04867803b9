"""Fetching a blob into a cache: one download for many waiters, resumed after a cut, checked before it has a name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from luhyaapi import clock
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Bug, Refused, Trouble, from_wire, of
from luhyaapi.transfer.base import Cancelled, Progress, Source, Trust, never, no_progress
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.download import PROTOCOLS, Download, Patience

_LOOK_S = 0.1
_LANDING_S = 5.0


def fetch(  # noqa: PLR0913 - who asks says all of it in one place; all but four are keyword only
    cache: BlobCache, blob: Blob, url: str, ticket: str, *,
    on_progress: Progress = no_progress, cancelled: Cancelled = never, patience: Patience | None = None,
    trust: Trust | None = None, neighbours: Sequence[Source] = (), demand: Demand | None = None,
) -> Path:
    """Have ``blob`` in ``cache``, from ``url`` opened by ``ticket``; returns its file. What is here does not move.

    Any number of threads and processes may ask for the same content: it is downloaded once. ``cancelled`` ends only the
    own waiting; the download ends when nobody waits for it any more. ``trust``: whom the other side must prove to be, for https.
    ``neighbours`` may have some of it, or fetch it themselves; they are asked first, and each block of theirs is verified as any other.
    ``demand`` orders the blocks of a download that begins now; one that runs already goes on as it is.
    Raises Unavailable(transfer) after ``patience``, Failed(digest) when other bytes come, Failed(disk_full),
    Refused(cancelled), and what the other side refuses. Only after Unavailable a half file stays, to be resumed.
    """
    if urlsplit(url).scheme not in PROTOCOLS:
        raise Refused("unsupported", "There is no way to fetch from there", f"known are {', '.join(PROTOCOLS)}")
    here = cache.path(blob.sha256)
    if here:
        on_progress(blob.size, blob.size)
        return here
    source = Source(url, {"Authorization": f"Ticket {ticket}"}, trust)
    known = [each for each in neighbours if urlsplit(each.url).scheme in PROTOCOLS]
    flight = _board(cache, blob, source, known, patience or Patience(), demand)
    told = -1
    try:
        while not clock.wait(flight.landed, _LOOK_S):
            if cancelled():
                raise Refused("cancelled", "Fetching the image was cancelled")
            if flight.done != told:
                told = flight.done
                on_progress(told, blob.size)
    finally:
        flight.leave()
    path = flight.result()
    on_progress(blob.size, blob.size)
    return path


def offer(cache: BlobCache, blob: Blob, source: Source, neighbours: Sequence[Source] = ()) -> None:
    """Lend a source to the download of that content that runs in this process, if one does; nobody waits."""
    with _flights_lock:
        flight = _flights.get(_key(cache, blob))
    if flight is not None:
        flight.offer(source, [each for each in neighbours if urlsplit(each.url).scheme in PROTOCOLS])


class _Flight:
    """One running download and those who wait for it."""

    def __init__(self, cache: BlobCache, blob: Blob, patience: Patience, key: tuple[str, str], demand: Demand | None) -> None:
        self.landed = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._waiting = 0
        self._key = key
        self._path: Path | None = None
        self._error: Trouble | None = None
        self._download = Download(cache, blob, self._stop, patience, demand, threaded=_launch is _in_a_thread)

    @property
    def done(self) -> int:
        """Bytes here so far."""
        return self._download.position

    def join(self, source: Source, neighbours: Sequence[Source]) -> bool:
        """Wait for it too, and lend it the own source; false when it is already ending."""
        with self._lock:
            if self._stop.is_set() or self.landed.is_set():
                return False
            self._waiting += 1
            self._download.offer(source, neighbours)
            return True

    def offer(self, source: Source, neighbours: Sequence[Source]) -> None:
        """One more place to get it from."""
        with self._lock:
            self._download.offer(source, neighbours)

    def leave(self) -> None:
        """Wait no more. The last one stops the download, and sees it stopped."""
        with self._lock:
            self._waiting -= 1
            last = self._waiting == 0
            if last:
                self._stop.set()
        if last:
            clock.wait(self.landed, _LANDING_S)

    def result(self) -> Path:
        """The file, or the error of the download."""
        if self._error:
            raise from_wire(self._error.wire()) from self._error
        if self._path is None:
            raise Bug("A download ended without a result")
        return self._path

    def run(self) -> None:
        """The thread of the download."""
        try:
            self._path = self._download.run()
        except Exception as error:
            self._error = of(error)
        finally:
            with _flights_lock:
                if _flights.get(self._key) is self:
                    del _flights[self._key]
            self.landed.set()


Launch = Callable[[Callable[[], None], str], None]


def _in_a_thread(run: Callable[[], None], name: str) -> None:
    threading.Thread(target=run, name=name, daemon=True).start()


_launch: Launch = _in_a_thread


def use(launch: Launch) -> Launch:
    """Have downloads begun by ``launch(run, name)`` instead of in a thread; returns the one that was there."""
    global _launch  # the one seam through which downloads leave their caller
    before, _launch = _launch, launch
    return before


_flights: dict[tuple[str, str], _Flight] = {}
_flights_lock = threading.Lock()


def _key(cache: BlobCache, blob: Blob) -> tuple[str, str]:
    return str(cache.folder.resolve()), blob.sha256


def _board(
    cache: BlobCache, blob: Blob, source: Source, neighbours: Sequence[Source], patience: Patience, demand: Demand | None,
) -> _Flight:
    key = _key(cache, blob)
    with _flights_lock:
        flight = _flights.get(key)
        if flight is not None and flight.join(source, neighbours):
            return flight
        flight = _flights[key] = _Flight(cache, blob, patience, key, demand)
        flight.join(source, neighbours)
    _launch(flight.run, f"fetch-{blob.sha256[:8]}")
    return flight
