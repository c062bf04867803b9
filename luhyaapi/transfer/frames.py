"""Blocks on the wire and in packs: frames of up to 16 blocks, each naming what is in it.

A frame is a head (how many blocks, how they are packed, bytes that follow the digests, bytes they unpack to), the digests of
its blocks in order, and the blocks themselves, together in one zstd frame unless that makes them no smaller. Only the last
block of a frame may be shorter than 64 KiB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import zstandard

from luhyaapi.errors import Failed
from luhyaapi.transfer.blocks import BLOCK, DIGEST, GROUP, digest, split

HEAD = struct.Struct("<BBxxII")
AT_PUBLISH, ON_THE_WAY = 3, 1
"""Levels of zstd: once for all who will ask, and for one who asks."""
_PLAIN, _ZSTD = 0, 1
LARGEST = HEAD.size + GROUP * (DIGEST + BLOCK)


def size(head: bytes | bytearray) -> int:
    """Bytes of the whole frame that begins with ``head``. Raises Failed(digest)."""
    blocks, _, length, _ = _head(head)
    return HEAD.size + blocks * DIGEST + length


def pack(names: Sequence[bytes], data: bytes, level: int) -> bytes:
    """A frame of blocks that lie one after the other in ``data``; ``names`` are their digests."""
    packed = zstandard.ZstdCompressor(level=level, write_checksum=False).compress(data)
    kind, body = (_ZSTD, packed) if len(packed) < len(data) else (_PLAIN, data)
    return b"".join((HEAD.pack(len(names), kind, len(body), len(data)), *names, body))


def names(frame: bytes) -> list[bytes]:
    """The digests in a frame. Raises Failed(digest)."""
    blocks, _, _, _ = _head(frame)
    return [frame[at : at + DIGEST] for at in range(HEAD.size, HEAD.size + blocks * DIGEST, DIGEST)]


def unpack(frame: bytes) -> list[tuple[bytes, memoryview]]:
    """The blocks of a frame, each with its digest, verified. Raises Failed(digest)."""
    blocks, kind, length, unpacked = _head(frame)
    body = memoryview(frame)[HEAD.size + blocks * DIGEST :]
    if len(body) != length:
        raise _broken(f"{len(body)} of {length} bytes")
    data = _plain(kind, body, unpacked)
    if len(data) != unpacked:
        raise _broken(f"it holds {len(data)} bytes and says {unpacked}")
    return _verified(names(frame), split(data))


def beginning(part: bytes) -> list[tuple[bytes, memoryview]]:
    """The blocks that are whole in the beginning of a frame, verified. Raises Failed(digest)."""
    if len(part) < HEAD.size:
        return []
    blocks, kind, _, unpacked = _head(part)
    data = _plain(kind, memoryview(part)[HEAD.size + blocks * DIGEST :], unpacked)
    whole = len(data) // BLOCK
    return _verified(names(part)[:whole], split(data)[:whole])


def _plain(kind: int, body: memoryview, at_most: int) -> bytes:
    if kind == _PLAIN:
        return bytes(body)
    try:
        return inflate(body, at_most)
    except zstandard.ZstdError as e:
        raise _broken(str(e)) from e


def inflate(packed: bytes | memoryview, at_most: int) -> bytes:
    """What is packed, and at most one byte more than ``at_most``, whatever size it claims to have. Raises zstandard.ZstdError."""
    with zstandard.ZstdDecompressor().stream_reader(packed) as unpacking:
        return unpacking.read(at_most + 1)


def _verified(expected: Sequence[bytes], found: Sequence[memoryview]) -> list[tuple[bytes, memoryview]]:
    for name, block in zip(expected, found, strict=True):
        if digest(block) != name:
            raise _broken(f"block {name.hex()[:16]} is another one")
    return list(zip(expected, found, strict=True))


class Reader:
    """Takes frames out of bytes that come in any pieces."""

    def __init__(self) -> None:
        self._left = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete with ``data``. Raises Failed(digest) for what is none."""
        self._left += data
        at = 0
        try:
            while len(self._left) - at >= HEAD.size:
                end = at + size(self._left[at : at + HEAD.size])
                if end > len(self._left):
                    break
                frame, at = bytes(memoryview(self._left)[at:end]), end
                yield frame
        finally:
            del self._left[:at]

    @property
    def rest(self) -> bytes:
        """What came of a frame that did not come whole."""
        return bytes(self._left)


def _head(frame: bytes | bytearray) -> tuple[int, int, int, int]:
    if len(frame) < HEAD.size:
        raise _broken("its head is cut off")
    blocks, kind, length, unpacked = HEAD.unpack(frame[: HEAD.size])
    fits = (blocks - 1) * BLOCK < unpacked <= blocks * BLOCK
    if not 0 < blocks <= GROUP or kind not in (_PLAIN, _ZSTD) or not 0 < length <= unpacked or not fits:
        raise _broken("its head makes no sense")
    return blocks, kind, length, unpacked


def _broken(why: str) -> Failed:
    return Failed("digest", "Other bytes came than expected", f"a frame of blocks is damaged: {why}")
