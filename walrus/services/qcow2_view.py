"""A raw disk as the qcow2 file it would be: made while it is read, any part of it, without a copy. Holes are not in it.

By the published specification of qcow2, version 3: clusters of 64 KiB, which are the blocks of the disk; tables first, then the
blocks in order.
"""

from __future__ import annotations

import functools
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator

from luhyaapi.transfer.blocks import BLOCK, HOLE, Index
from walrus.services.blockstore import BlockStore

_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_MAGIC, _VERSION, _CLUSTER_BITS, _REFCOUNT_ORDER = b"QFI\xfb", 3, 16, 4
_ENTRIES = BLOCK // 8
_COUNTS = BLOCK // 2
_COPIED = 1 << 63
_AT_ONCE = 16

_KEPT = 4

Read = Callable[[int, int], Iterator[bytes]]
"""``read(start, length)``: that many plain bytes of the disk."""


class Qcow2Blobs:
    """The disks of ``store`` as qcow2 files. Both methods raise Refused(not_found)."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        # a download in ranges asks for the same one again and again
        self._view = functools.lru_cache(_KEPT)(self._made)

    def size(self, sha256: str) -> int:
        """Bytes of the qcow2 file of a disk."""
        return self._view(sha256).size

    def read(self, sha256: str, start: int, length: int) -> Iterator[bytes]:
        """That much of it."""
        return self._view(sha256).read(start, length)

    def _made(self, sha256: str) -> Qcow2View:
        return Qcow2View(self._store.index(sha256), functools.partial(self._store.read, sha256))


class Qcow2View:
    """The qcow2 file of a disk; ``size`` in bytes. ``read`` gives the disk's bytes."""

    def __init__(self, index: Index, read: Read) -> None:
        self._index, self._disk = index, read
        self._filled = [number for number, name in enumerate(index) if name != HOLE]
        tables = -(-len(index) // _ENTRIES)
        self._l2 = sorted({number // _ENTRIES for number in self._filled})
        self._l1_at = 1
        self._l1_entries = tables
        self._l2_at = self._l1_at + max(-(-tables // _ENTRIES), 1)
        rest = self._l2_at + len(self._l2) + len(self._filled)
        blocks = counted = 1
        while (rest + blocks + counted) > counted * _COUNTS or counted > blocks * _ENTRIES:
            counted = -(-(rest + blocks + counted) // _COUNTS)
            blocks = -(-counted // _ENTRIES)
        self._refcount_table_at, self._refcount_table = self._l2_at + len(self._l2), blocks
        self._refcounts_at, self._refcounts = self._refcount_table_at + blocks, counted
        self._data_at = self._refcounts_at + counted
        self._clusters = self._data_at + len(self._filled)
        self.size = self._clusters * BLOCK

    def read(self, start: int, length: int) -> Iterator[bytes]:
        """That much of the file."""
        at, end = start, min(start + length, self.size)
        while at < end:
            cluster = at // BLOCK
            piece = self._data(cluster, -(-end // BLOCK)) if cluster >= self._data_at else self._made(cluster)
            skip = at - cluster * BLOCK
            piece = piece[skip : skip + end - at]
            yield piece
            at += len(piece)

    def _data(self, cluster: int, end: int) -> bytes:
        """Blocks of the disk that lie beside each other, there and here."""
        place = cluster - self._data_at
        first = last = self._filled[place]
        while last - first < _AT_ONCE and cluster + 1 < end and place + 1 < len(self._filled) and self._filled[place + 1] == last + 1:
            place, cluster, last = place + 1, cluster + 1, last + 1
        start, stop = first * BLOCK, min((last + 1) * BLOCK, self._index.size)
        data = b"".join(self._disk(start, stop - start))
        return data + bytes(-len(data) % BLOCK)

    def _made(self, cluster: int) -> bytes:
        if cluster == 0:
            return self._header()
        if cluster < self._l2_at:
            return self._entries((cluster - self._l1_at) * _ENTRIES, {table: self._l2_at + n for n, table in enumerate(self._l2)}.get)
        if cluster < self._refcount_table_at:
            return self._l2_table(self._l2[cluster - self._l2_at])
        if cluster < self._refcounts_at:
            first = (cluster - self._refcount_table_at) * _ENTRIES
            return b"".join(
                struct.pack(">Q", (self._refcounts_at + n) * BLOCK if n < self._refcounts else 0) for n in range(first, first + _ENTRIES)
            )
        counted = min(max(self._clusters - (cluster - self._refcounts_at) * _COUNTS, 0), _COUNTS)
        return b"\0\1" * counted + bytes(2 * (_COUNTS - counted))

    def _l2_table(self, table: int) -> bytes:
        first = table * _ENTRIES
        place = bisect_right(self._filled, first - 1)
        here: dict[int, int] = {}
        while place < len(self._filled) and self._filled[place] < first + _ENTRIES:
            here[self._filled[place]] = self._data_at + place
            place += 1
        return self._entries(first, here.get)

    @staticmethod
    def _entries(first: int, cluster_of: Callable[[int], int | None]) -> bytes:
        found = (cluster_of(n) for n in range(first, first + _ENTRIES))
        return b"".join(struct.pack(">Q", _COPIED | at * BLOCK if at is not None else 0) for at in found)

    def _header(self) -> bytes:
        head = _HEADER.pack(
            _MAGIC, _VERSION, 0, 0, _CLUSTER_BITS, -(-self._index.size // 512) * 512, 0, self._l1_entries, self._l1_at * BLOCK,
            self._refcount_table_at * BLOCK, self._refcount_table, 0, 0, 0, 0, 0, _REFCOUNT_ORDER, _HEADER.size,
        )
        return head + bytes(BLOCK - len(head))
