"""Fetching a blob into a cache: one download for many waiters, resumed after a cut, checked before it has a name."""

from __future__ import annotations

import errno
import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from luhyaapi import clock, log
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable, of
from luhyaapi.transfer.base import CHUNK, Cancelled, Progress, Source, Span, Transfer, never, no_progress
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.curl import Curl
from luhyaapi.transfer.sparse import SparseFile

_log = log.get(__name__)
_LOOK_S = 0.1
_PROGRESS_S = 0.5
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

PROTOCOLS: dict[str, Transfer] = {scheme: Curl() for scheme in sorted(Curl.schemes)}


@dataclass(frozen=True)
class Patience:
    """How long a fetch goes on: ``total_s`` in all, ``idle_s`` without a single new byte (seconds)."""

    total_s: float = 3600.0
    idle_s: float = 120.0


def fetch(  # noqa: PLR0913 - what, whence, and how its caller follows it
    cache: BlobCache, blob: Blob, url: str, ticket: str, *,
    on_progress: Progress = no_progress, cancelled: Cancelled = never, patience: Patience = Patience(), ca: str = "",
) -> Path:
    """Have ``blob`` in ``cache``, from ``url`` opened by ``ticket``; returns its file. What is here does not move.

    Any number of threads and processes may ask for the same content: it is downloaded once. ``cancelled`` ends only the
    own waiting; the download ends when nobody waits for it any more. ``ca``: file with the authority for https.
    Raises Unavailable(transfer) after ``patience``, Failed(digest) when other bytes come, Failed(disk_full),
    Refused(cancelled), and what the other side refuses.
    """
    source = Source(url, {"Authorization": f"Ticket {ticket}"}, ca)
    if urlsplit(url).scheme not in PROTOCOLS:
        raise Refused("unsupported", "No way to fetch from there", f"known are {', '.join(PROTOCOLS)}")
    here = cache.path(blob.sha256)
    if here:
        on_progress(blob.size, blob.size)
        return here
    flight = _board_flight(cache, blob, source, patience)
    try:
        while not clock.wait(flight.landed, _PROGRESS_S if flight.quiet else _LOOK_S):
            on_progress(flight.done, blob.size)
            if cancelled():
                raise Refused("cancelled", "Fetching the image was cancelled")
    finally:
        flight.leave()
    path = flight.result()
    on_progress(blob.size, blob.size)
    return path


_flights: dict[tuple[str, str], _Flight] = {}
_flights_lock = threading.Lock()


def _board_flight(cache: BlobCache, blob: Blob, source: Source, patience: Patience) -> _Flight:
    key = (str(cache.folder.resolve()), blob.sha256)
    with _flights_lock:
        flight = _flights.get(key)
        if flight is None or flight.left_alone:
            flight = _flights[key] = _Flight(cache, blob, patience, key)
            flight.join(source)
            threading.Thread(target=flight.run, name=f"fetch-{blob.sha256[:8]}", daemon=True).start()
        else:
            flight.join(source)
    return flight
