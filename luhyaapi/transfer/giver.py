"""Giving blocks of files away: what every byte door and every test of fetching stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import zstandard

from luhyaapi import clock
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer import frames, growing
from luhyaapi.transfer.blocks import BLOCK, DIGEST, HOLE, Index, count, numbers, read, spans
from luhyaapi.transfer.cache import BlobCache

_BESIDE = 64 * 1024
_LOOK_S = 0.1


class Giver(Protocol):
    """Who has files of images. Both methods raise Refused(not_found) at once for a file that is not there."""

    def index(self, sha256: str) -> Index:
        """The index of a file."""

    def frames(self, sha256: str, wanted: Sequence[int]) -> Iterator[bytes]:
        """Frames that hold these blocks of it, by rising numbers; more may be in them."""


def answer(giver: Giver, sha256: str, what: str, asked: Mapping[str, str]) -> Iterator[bytes]:
    """What a download asks for: ``index``, or ``blocks`` with ``want`` (0-15,17). Raises Refused(invalid | not_found) at once."""
    index = giver.index(sha256)
    if what == "index":
        return iter((squeeze(index),))
    return giver.frames(sha256, numbers(asked.get("want", ""), len(index)))


class CacheGiver:
    """Gives what a cache has, compressed while it is sent; of a file that is still being fetched what came and is verified.

    ``patience_s``: so long it waits for a file that is about to be fetched, and for the next block of one that is.
    """

    def __init__(self, cache: BlobCache, patience_s: float = 0.0) -> None:
        self._cache, self._patience_s = cache, patience_s

    def index(self, sha256: str) -> Index:
        """See :class:`Giver`."""
        until = clock.monotonic() + self._patience_s
        while True:
            if half := growing.of(self._cache.folder, sha256):
                return half.index
            try:
                return self._cache.index(sha256)
            except Refused:
                if clock.monotonic() >= until:
                    raise
            clock.sleep(_LOOK_S)

    def frames(self, sha256: str, wanted: Sequence[int]) -> Iterator[bytes]:
        """See :class:`Giver`."""
        half = growing.of(self._cache.folder, sha256)
        path = self._cache.path(sha256)
        if path is not None:
            return of_file(path, self._cache.index(sha256), wanted)
        if half is not None:
            return half.frames(wanted, self._patience_s)
        raise Refused("not_found", "These bytes are not here", sha256)


def of_file(path: Path, index: Index, wanted: Sequence[int]) -> Iterator[bytes]:
    """Frames of these blocks of a plain file; holes are left out."""
    with path.open("rb") as file:
        for first, end in spans(n for n in wanted if index[n] != HOLE):
            data = read(file.fileno(), first * BLOCK, min(end * BLOCK, index.size) - first * BLOCK)
            yield frames.pack([index[n] for n in range(first, end)], data, frames.ON_THE_WAY)


def largest(size: int) -> int:
    """Bytes that the index of a file of ``size`` bytes takes on its way, at most."""
    return count(size) * DIGEST + _BESIDE


def squeeze(index: Index) -> bytes:
    """An index to be sent."""
    return zstandard.ZstdCompressor(level=frames.AT_PUBLISH).compress(index.data)


def unsqueeze(data: bytes, size: int, name: str) -> Index:
    """The index of a file of ``size`` bytes out of what was sent. Raises Failed(digest) unless it is the one called ``name``."""
    try:
        plain = frames.inflate(data, count(size) * DIGEST)
    except zstandard.ZstdError as e:
        raise Failed("digest", "Another index came than expected", str(e)) from e
    return Index.checked(size, plain, name)
