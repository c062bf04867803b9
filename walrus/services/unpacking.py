"""Reading what was packed with gzip, bzip2, xz or zstd: piece by piece, in flat memory, never more than is allowed."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import zstandard

from luhyaapi import clock
from luhyaapi.errors import Failed
from luhyaapi.transfer.base import CHUNK
from walrus.services.verdict import cut_off, refused

_MIB = 1024 * 1024
_MEMORY = 128 * _MIB
_BLOCK_AT_MOST = 128 * 1024
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}


@dataclass(frozen=True)
class Caps:
    """What may come out: bytes in all, bytes for each byte read once ``free`` bytes came, seconds and further seconds for each MiB read."""

    size: int
    ratio: int = 4096
    free: int = 1024 * _MIB
    patience_s: float = 600.0
    patience_s_per_mib: float = 1.0


def packing(head: bytes) -> str:
    """How a file that begins with ``head`` is packed: gz, bz2, xz, zst; empty when it is not."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


class Reader:
    """Bytes of a file from front to back, unpacked when it is packed. ``position``: bytes given out.

    ``read`` raises Refused(image_format) when it is damaged, cut off or gives more than ``caps``, Failed(timeout).
    """

    def __init__(self, file: BinaryIO, caps: Caps) -> None:
        self._file = _Source(file)
        self.packing = packing(self._file.peek(8))
        pieces = _guarded(_UNPACK[self.packing](self._file), self.packing) if self.packing else self._file.pieces()
        self._pieces = filter(None, pieces)
        self._caps = caps
        self._began = clock.monotonic()
        self._out = 0
        self._ready = b""
        self.position = 0

    @property
    def taken(self) -> int:
        """Bytes of the file that were read."""
        return self._file.taken

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, which stay; fewer at the end."""
        while len(self._ready) < size and (data := self._next()):
            self._ready += data
        return self._ready[:size]

    def read(self, size: int) -> bytes:
        """Some of the next ``size`` bytes; empty at the end."""
        data = self._ready or self._next()
        self._ready = data[size:]
        self.position += len(data[:size])
        return data[:size]

    def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes, all of them. Raises Refused(image_format) when it ends before."""
        data = self.peek(size)
        if len(data) < size:
            raise cut_off("it is cut off")
        self._ready = self._ready[size:]
        self.position += size
        return data

    def _next(self) -> bytes:
        data = next(self._pieces, b"")
        self._out += len(data)
        if self.packing:
            self._within()
        return data

    def _within(self) -> None:
        caps, taken = self._caps, self._file.taken
        if self._out > caps.size:
            raise refused(f"unpacked it has more than the {caps.size // _MIB} MiB that are allowed")
        if self._out > caps.free + taken * caps.ratio:
            raise refused(f"unpacked it has more than {caps.ratio} times its size, which no disk has")
        if clock.monotonic() - self._began > caps.patience_s + taken / _MIB * caps.patience_s_per_mib:
            raise Failed("timeout", "Unpacking the file took too long", f"after {taken // _MIB} MiB of it")


class _Source:
    """A file with a look ahead; ``taken``: bytes that were read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ready = b""
        self.taken = 0

    def peek(self, size: int) -> bytes:
        if len(self._ready) < size:
            data = self._file.read(CHUNK)
            self.taken += len(data)
            self._ready += data
        return self._ready[:size]

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        data = self.peek(size)
        if len(data) < size:
            raise EOFError
        self._ready = self._ready[size:]
        return data

    def some(self) -> bytes:
        """What there is, at most some CHUNK; empty at the end."""
        self.peek(1)
        data, self._ready = self._ready, b""
        return data

    def back(self, data: bytes) -> None:
        """What was too much."""
        self._ready = data + self._ready

    def pieces(self) -> Iterator[bytes]:
        while data := self.some():
            yield data


def _guarded(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """What the libraries say, in our words."""
    try:
        yield from pieces
    except EOFError as e:
        raise cut_off(f"it is cut off: its {name} packing does not end") from e
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError) as e:
        raise cut_off(f"its {name} packing is damaged ({e})") from e


class _Unpacker(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _members(source: _Source, magic: bytes, one: Callable[[_Source], Iterator[bytes]]) -> Iterator[bytes]:
    """Packed files may be one behind the other, with zeros behind them; nothing else may follow."""
    while True:
        yield from one(source)
        while (data := source.peek(CHUNK)) and not data.strip(b"\0"):
            source.take(len(data))
        source.take(len(data) - len(data.lstrip(b"\0")))
        if not data:
            return
        if not source.peek(len(magic)).startswith(magic):
            raise refused("something else follows its packing")


def _gz(source: _Source) -> Iterator[bytes]:
    return _members(source, b"\x1f\x8b", _gz_member)


def _gz_member(source: _Source) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    data = b""
    while not unpacker.eof:
        data = data or source.some()
        if not data:
            raise EOFError
        yield unpacker.decompress(data, CHUNK)
        data = unpacker.unconsumed_tail
    source.back(unpacker.unused_data)


def _bz2(source: _Source) -> Iterator[bytes]:
    return _members(source, b"BZh", lambda s: _member(s, bz2.BZ2Decompressor()))


def _xz(source: _Source) -> Iterator[bytes]:
    return _members(source, b"\xfd7zXZ\0", lambda s: _member(s, lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY)))


def _member(source: _Source, unpacker: _Unpacker) -> Iterator[bytes]:
    while not unpacker.eof:
        data = source.some() if unpacker.needs_input else b""
        if unpacker.needs_input and not data:
            raise EOFError
        try:
            piece = unpacker.decompress(data, CHUNK)
        except OSError as e:  # this is how bz2 says it
            raise ValueError(str(e)) from e
        yield piece
    source.back(unpacker.unused_data)


def _zst(source: _Source) -> Iterator[bytes]:
    """Block by block: the library has no bound on what one call gives, a block has."""
    while source.peek(1):
        magic = int.from_bytes(source.take(4), "little")
        if magic in _SKIPPABLE:
            left = int.from_bytes(source.take(4), "little")
            while left:
                left -= len(source.take(min(left, CHUNK)))
        elif magic == zstandard.MAGIC_NUMBER:
            yield from _zst_frame(source)
        else:
            raise refused("something else follows its packing")


def _zst_frame(source: _Source) -> Iterator[bytes]:
    head = zstandard.FRAME_HEADER
    head += source.take(zstandard.frame_header_size(head + source.peek(14)) - len(head))
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MEMORY).decompressobj()
    yield unpacker.decompress(head)
    is_last = False
    while not is_last:
        word = source.take(3)
        block = int.from_bytes(word, "little")
        is_last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        if length > _BLOCK_AT_MOST:
            raise cut_off("its zst packing is damaged (a block is too large)")
        yield unpacker.decompress(word + source.take(1 if kind == 1 else length))
    if zstandard.get_frame_parameters(head).has_checksum:
        yield unpacker.decompress(source.take(4))
    if not unpacker.eof:
        raise EOFError


_UNPACK: dict[str, Callable[[_Source], Iterator[bytes]]] = {"gz": _gz, "bz2": _bz2, "xz": _xz, "zst": _zst}
