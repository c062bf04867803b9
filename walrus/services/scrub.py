"""The slow search for damage: all packs, manifests and indexes are read again and again, so that a spoiled disk is known in time.

What is damaged is no longer counted as here, in the list of where each block lies: whoever reads it is told so, and when the
same bytes come again they are kept again. Manifests and tables of packs can be made anew at once, from what is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from luhyaapi import clock, log, points
from luhyaapi.contracts.specs import MIB
from luhyaapi.errors import Unavailable
from luhyaapi.transfer import frames
from luhyaapi.transfer.blocks import HOLE
from walrus.services.blockstore import BlockStore
from walrus.services.packs import readable, table

_log = log.get(__name__)
EVERY_S = 1.0
"""Seconds between two steps."""
_REST_S = 24 * 3600.0
"""A search begins so long after the one before began, at the earliest."""


class Scrub:
    """Reads ``store`` with ``rate_mib`` MiB a second (0: not at all), one frame at a time. Goes on where it was after a restart."""

    def __init__(self, store: BlockStore, rate_mib: float) -> None:
        self._store, self._each = store, int(rate_mib * MIB * EVERY_S)
        self._under_way: Iterator[int] | None = None
        self._owed = 0
        self._about: object = None
        self._hit: list[str] = []

    def step(self) -> None:
        """Read as much as one step may; called every EVERY_S. Raises what the store of objects says."""
        if not self._each:
            return
        self._under_way = self._under_way or self._search()
        self._owed -= self._each
        try:
            while self._owed < 0:
                self._owed += next(self._under_way)
        except BaseException as e:
            self._under_way, self._owed = None, 0
            if not isinstance(e, StopIteration):
                raise

    def hit(self) -> list[str]:
        """The files that cannot be read as a whole, by their sha256; what was known before while the store is away."""
        store = self._store
        about = lost, files, unreadable = store.places.lost(), store.sha256s(), store.unreadable()
        if about != self._about:
            with contextlib.suppress(Unavailable):
                self._hit = sorted({*unreadable, *(sha256 for sha256 in files if store.is_hit(sha256, lost))})
                self._about = about
        return self._hit

    def _search(self) -> Iterator[int]:
        """One search to its end, or what is left of one; the bytes of each thing that was read."""
        store, places = self._store, self._store.places
        store.open()
        name, began_at = places.scrubbed()
        if not name:
            if abs(clock.now() - began_at) < _REST_S:
                return
            began_at = clock.now()
        while name := places.pack_after(name):
            yield from self._check_pack(name)
            places.scrubbed_to(name, began_at)
        for sha256 in store.sha256s():
            yield self._check_file(sha256)
        self._forget()
        places.scrubbed_to("", began_at)

    def _check_pack(self, name: str) -> Iterator[int]:
        store = self._store
        for offset, length in store.places.frames_in(name):
            if not readable(lambda: frames.unpack(store.objects.get(name, offset, length))):  # noqa: B023 - called at once
                _log.error("blocks are damaged", pack=name, offset=offset)
                points.at("scrub: before lose")
                store.places.lose(name, offset)
            yield length
        if name in store.objects.names(name) and readable(partial(table, store.objects, name)) is None:
            store.pack_again(name)

    def _check_file(self, sha256: str) -> int:
        """Look at the manifest and the index of a file, and for each of its blocks; bytes read."""
        digest = self._store.seal_again(sha256)
        if not digest:
            return 0
        index = readable(partial(self._store.index, sha256))
        if index is None:
            _log.error("index is damaged", sha256=sha256)
        self._store.places.miss([bytes.fromhex(digest)] if index is None else (name for name in index if name != HOLE))
        return len(index.data) if index else 0

    def _forget(self) -> None:
        """What no file needs any more is not lost."""
        store, lost = self._store, self._store.places.lost()
        needed = set[bytes]()
        for sha256 in store.sha256s() if lost else ():
            index = readable(partial(store.index, sha256))
            needed |= lost if index is None else lost.intersection([*index, bytes.fromhex(index.name)])
        store.places.found(lost - needed)
