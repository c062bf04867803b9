"""The disk of a guest that does not run, as it sees it: what it wrote, over its image. Nothing is copied."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from luhyaapi.errors import Refused
from luhyaapi.transfer import frames
from luhyaapi.transfer.base import Cancelled, Progress, never, no_progress
from luhyaapi.transfer.blocks import BLOCK, DIGEST, HOLE, Index, count, digests, read, spans
from nc.services.disks import mapped


@dataclass(frozen=True)
class _Extent:
    """What the guest wrote: bytes ``start`` to ``end`` of the disk lie at ``at`` of the overlay's file; zeros lie nowhere (-1)."""

    start: int
    end: int
    at: int


class Merged:
    """``overlay`` (qcow2) over the file ``base()``, whose index is known; the base is opened only for blocks that are asked for.

    Use it as a context. Raises Failed(program) for an overlay that cannot be read, Refused(unsupported) for a compressed one.
    """

    def __init__(self, overlay: Path, base: Callable[[], Path], base_index: Index) -> None:
        self._base, self._base_index = base, base_index
        self._opened = ExitStack()
        self._overlay = self._opened.enter_context(overlay.open("rb")).fileno()
        self._base_fd = -1
        found = mapped(overlay)
        self.size = max((e["start"] + e["length"] for e in found), default=0)
        self._extents = [_extent(e) for e in found if e["present"]]
        self._starts = [e.start for e in self._extents]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._opened.close()

    def index(self, *, cancelled: Cancelled = never, on_progress: Progress = no_progress) -> Index:
        """The index of the disk; only what the guest wrote is read. Raises Refused(cancelled)."""
        known = self._base_index.data[: count(self.size) * DIGEST]
        found = bytearray(known + bytes(count(self.size) * DIGEST - len(known)))
        if last := self._base_index.size % BLOCK:
            # the last block of a smaller base is a longer one here
            number = self._base_index.size // BLOCK
            if number < count(self.size) and min(BLOCK, self.size - number * BLOCK) != last:
                self._put(found, number, self._read(number, number + 1))
        written = self._written()
        for done, (first, end) in enumerate(spans(written)):
            if cancelled():
                raise Refused("cancelled", "Looking through the disk was cancelled")
            self._put(found, first, self._read(first, end))
            on_progress(done, len(written))
        return Index(self.size, bytes(found))

    def frames(self, index: Index, wanted: Sequence[int]) -> Iterator[bytes]:
        """Frames of these blocks of the disk, as :class:`luhyaapi.transfer.giver.Giver` gives them."""
        for first, end in spans(n for n in wanted if index[n] != HOLE):
            yield frames.pack([index[n] for n in range(first, end)], self._read(first, end), frames.AT_PUBLISH)

    @staticmethod
    def _put(found: bytearray, first: int, data: bytes) -> None:
        names = b"".join(digests(data))
        found[first * DIGEST : first * DIGEST + len(names)] = names

    def _written(self) -> list[int]:
        """The blocks that the guest wrote to, in order."""
        found: list[int] = []
        for extent in self._extents:
            first = max(extent.start // BLOCK, found[-1] + 1 if found else 0)
            found += range(first, count(extent.end))
        return found

    def _read(self, first: int, end: int) -> bytes:
        """Blocks ``first`` to ``end`` of the disk."""
        start, stop = first * BLOCK, min(end * BLOCK, self.size)
        pieces, at = [], start
        number = max(bisect_right(self._starts, at) - 1, 0)
        while at < stop:
            extent = self._extents[number] if number < len(self._extents) else None
            if extent is None or at < extent.start:
                upto = min(stop, extent.start) if extent else stop
                pieces.append(self._below(at, upto - at))
            elif at >= extent.end:
                number += 1
                continue
            else:
                upto = min(stop, extent.end)
                is_data = extent.at >= 0
                pieces.append(read(self._overlay, extent.at + at - extent.start, upto - at) if is_data else bytes(upto - at))
            at = upto
        return b"".join(pieces)

    def _below(self, start: int, length: int) -> bytes:
        """What the image has there; zeros behind its end."""
        here = max(min(self._base_index.size - start, length), 0)
        if here and self._base_fd < 0:
            self._base_fd = self._opened.enter_context(self._base().open("rb")).fileno()
        return (read(self._base_fd, start, here) if here else b"") + bytes(length - here)


def _extent(found: dict[str, int]) -> _Extent:
    if found.get("compressed") or (found["data"] and "offset" not in found):
        raise Refused("unsupported", "The disk of the instance cannot be submitted", "parts of it are compressed")
    return _Extent(found["start"], found["start"] + found["length"], found["offset"] if found["data"] and not found["zero"] else -1)
