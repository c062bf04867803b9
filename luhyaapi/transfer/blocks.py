"""What files of images are compared, verified and moved by: blocks of 64 KiB and the index of their digests."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from blake3 import blake3

from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.base import Cancelled, never

BLOCK = 64 * 1024
DIGEST = 32
HOLE = bytes(DIGEST)
"""Stands in an index for a block of zeros, which is never read, kept or sent."""
GROUP = 16
"""Blocks that are compressed together, at most."""
_ZEROS = bytes(BLOCK)
_SPAN = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", re.ASCII)


def digest(block: bytes | memoryview) -> bytes:
    """The BLAKE3 digest of a block, 32 bytes; HOLE for one of zeros."""
    return HOLE if is_zeros(block) else blake3(block).digest()


def is_zeros(block: bytes | memoryview) -> bool:
    """Whether there is nothing in it."""
    return block[0] == 0 == block[-1] and block == (_ZEROS if len(block) == BLOCK else bytes(len(block)))


class Index:
    """The digests of a file's blocks in order; ``size`` of the file in bytes, ``data`` 32 bytes per block."""

    __slots__ = ("_name", "data", "size")

    def __init__(self, size: int, data: bytes) -> None:
        if len(data) != count(size) * DIGEST:
            raise Failed("digest", "An index does not fit its file", f"{len(data) // DIGEST} blocks for {size} bytes")
        self.size, self.data = size, data
        self._name = ""

    @property
    def name(self) -> str:
        """The digest of the index itself; computed when it is asked for, since whoever gives one block needs none."""
        if not self._name:
            self._name = blake3(self.data).hexdigest()
        return self._name

    @classmethod
    def checked(cls, size: int, data: bytes, name: str) -> Self:
        """The index if it is the one of that name. Raises Failed(digest)."""
        index = cls(size, data)
        if index.name != name:
            raise Failed("digest", "Another index came than expected", f"its digest is {index.name}, not {name}")
        return index

    def __len__(self) -> int:
        return len(self.data) // DIGEST

    def __getitem__(self, number: int) -> bytes:
        return self.data[number * DIGEST : (number + 1) * DIGEST]

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        return (data[at : at + DIGEST] for at in range(0, len(data), DIGEST))

    def length(self, number: int) -> int:
        """Bytes of a block: 64 KiB, fewer in the last."""
        return min(BLOCK, self.size - number * BLOCK)

    def filled(self) -> int:
        """Bytes of the blocks that are no holes."""
        last = len(self) - 1
        blocks = len(self) - sum(1 for each in self if each == HOLE)
        return blocks * BLOCK - (BLOCK - self.length(last) if blocks and self[last] != HOLE else 0)


def count(size: int) -> int:
    """Blocks of a file of ``size`` bytes."""
    return -(-size // BLOCK)


def extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where an open file has data, as (first block, end block), without what is surely a hole."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            # ENXIO: nothing but a hole from here on
            return
        end = count(os.lseek(fd, start, os.SEEK_HOLE))
        yield start // BLOCK, min(end, count(size))
        at = end * BLOCK


def groups(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The data of an open file in pieces of at most GROUP blocks, as (first block, bytes); holes are not read."""
    end = 0
    for first, last in extents(fd, size):
        for start in range(max(first, end), last, GROUP):
            stop = min(start + GROUP, last)
            yield start, read(fd, start * BLOCK, min(stop * BLOCK, size) - start * BLOCK)
        end = last


def split(data: bytes) -> list[memoryview]:
    """A piece as its blocks."""
    view = memoryview(data)
    return [view[at : at + BLOCK] for at in range(0, len(data), BLOCK)]


def digests(data: bytes) -> list[bytes]:
    """The digests of the blocks of a piece."""
    return [digest(block) for block in split(data)]


def index_of(path: Path, cancelled: Cancelled = never) -> Index:
    """Look through a file. Raises Refused(cancelled), OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        found = bytearray(count(size) * DIGEST)
        for start, data in groups(file.fileno(), size):
            if cancelled():
                raise Refused("cancelled", "Looking through the file was cancelled")
            names = b"".join(digests(data))
            found[start * DIGEST : start * DIGEST + len(names)] = names
    return Index(size, bytes(found))


def spans(numbers: Iterable[int], at_most: int = GROUP) -> Iterator[tuple[int, int]]:
    """Rising numbers as (first, end), of at most so many each."""
    first = end = -1
    for number in numbers:
        if number != end or end - first == at_most:
            if first >= 0:
                yield first, end
            first = number
        end = number + 1
    if first >= 0:
        yield first, end


def ranges(numbers: Iterable[int]) -> str:
    """Block numbers in rising order as text: ``0-15,17,20-31``."""
    return ",".join(f"{first}" if end == first + 1 else f"{first}-{end - 1}" for first, end in spans(numbers, sys.maxsize))


def numbers(text: str, end: int) -> list[int]:
    """The block numbers in such a text, all below ``end``. Raises Refused(invalid)."""
    found: list[int] = []
    for word in text.split(","):
        span = _SPAN.fullmatch(word)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if not (found[-1] if found else -1) < first <= last < end:
            raise Refused("invalid", "Those are no blocks of this file", f"{word[:40]!r}: rising numbers and spans below {end}")
        found += range(first, last + 1)
    return found


def read(fd: int, offset: int, length: int) -> bytes:
    """Exactly those bytes of an open file. Raises OSError when it ends before."""
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            raise OSError(f"the file ends at {offset + len(data)}")
        data += more
    return data
