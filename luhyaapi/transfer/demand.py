"""What of a file somebody cannot wait for: a guest reads its image while it comes, and what it reads comes first."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from luhyaapi import clock
from luhyaapi.transfer.blocks import BLOCK, count

ASK_AT_MOST = 64
SMALL, LARGE, LARGEST = 4, 64, 128
"""Blocks of one request that nobody waits for, while something is read, else, and without rests: what is read next waits behind it."""
AHEAD_AT_MOST = 16
"""Blocks that are asked for before somebody who reads on and on needs them."""
UNTIL_READ_S, QUIET_S, BOOT_S = 20.0, 20.0, 60.0
"""What nobody reads rests so long: for the first read, after each read, in all. A boot reads, computes for seconds, and reads."""
TRACE_AT_MOST = 4096
_LOOK_S = 0.1


class _Half:
    """An open file, and which of its blocks are in it and verified."""

    def __init__(self, fd: int, blocks: int) -> None:
        # closed with the last who holds it: who is just sending out of it is not disturbed by the next one
        self.file: BinaryIO = os.fdopen(os.dup(fd), "rb", buffering=0)
        self.here = bytearray(blocks)


class Demand:
    """Between one download, which brings blocks, and those who read them; for any number of threads.

    ``size`` of the file in bytes. ``first``: blocks that are likely to be read, in order. ``read``: blocks in the order in which they were first read.
    Without ``rests`` what nobody reads comes all the time.
    """

    def __init__(self, size: int, first: Sequence[int] = (), *, rests: bool = True) -> None:
        self.size, self._is_patient = size, rests
        self.read: dict[int, None] = {}
        self._likely: tuple[int, ...] = ()
        self._half: _Half | None = None
        self._changes = 0
        self._urgent: dict[int, None] = {}
        self._soon: dict[int, None] = {}
        self._edge, self._window = -1, 0
        self._next = 0
        self._opened_at = self._read_at = 0.0
        self._change = threading.Condition()
        self.expect(first)

    @property
    def expects(self) -> bool:
        """Whether it is known what is likely to be read."""
        return bool(self._likely)

    def expect(self, first: Iterable[int]) -> None:
        """These blocks are likely to be read, in this order; others of the file come behind them."""
        with self._change:
            self._likely = tuple(n for n in first if 0 <= n < count(self.size))
            self._next = 0

    # ---- those who read

    @property
    def is_open(self) -> bool:
        """Whether it is known which blocks there are."""
        return self._half is not None

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a block now, or soon will."""
        return bool(self._urgent or self._soon)

    def get(self, offset: int, length: int) -> BinaryIO | None:
        """The file with these bytes of it verified; None while they are not there, and they come before all others.

        Who waits asks again after :meth:`wait`.
        """
        numbers = range(offset // BLOCK, (offset + length - 1) // BLOCK + 1)
        with self._change:
            half = self._half
            lacking = [n for n in numbers if half is None or not half.here[n]]
            self._read_at = clock.monotonic()
            if len(self.read) < TRACE_AT_MOST and (half is None or self._read_at - self._opened_at < BOOT_S):
                self.read.update(dict.fromkeys(numbers))
            if half is not None:
                self._read_on(numbers.start, numbers.stop, half)
                if not lacking:
                    return half.file
            self._urgent.update(dict.fromkeys(lacking))
            self._change.notify_all()  # the download
            return None

    def ask(self, numbers: Sequence[int]) -> None:
        """Somebody elsewhere waits for these: the first of them come right after what is read here."""
        with self._change:
            self._soon.update(dict.fromkeys(n for n in numbers[:AHEAD_AT_MOST] if self._half is None or not self._half.here[n]))
            self._change.notify_all()  # the download

    def _read_on(self, first: int, end: int, half: _Half) -> None:
        """Who reads one block after the other has ever more of them before asking."""
        if not self._edge - 2 * self._window - 1 <= first <= self._edge:
            self._edge, self._window = end, 0
        elif end + self._window // 2 >= self._edge + (self._window == 0):
            start = max(self._edge, end)
            self._window = min(max(1, 2 * self._window), AHEAD_AT_MOST)
            self._edge = min(start + self._window, len(half.here))
            self._soon.update(dict.fromkeys(n for n in range(start, self._edge) if not half.here[n]))
            self._change.notify_all()  # the download

    def wait(self, seen: int) -> int:
        """Sleep until something came, or :meth:`wake`, since ``seen`` (first: 0); what to say next time."""
        with self._change:
            self._change.wait_for(lambda: self._changes != seen)
            return self._changes

    def wake(self) -> None:
        """Have everybody who waits ask again."""
        with self._change:
            self._changed()

    def _changed(self) -> None:
        self._changes += 1
        self._change.notify_all()

    # ---- the download

    def opens(self, fd: int, here: Iterable[int]) -> None:
        """The half file is there, and these blocks are in it; of others :meth:`came` tells. The descriptor stays the caller's."""
        with self._change:
            self._half = _Half(fd, count(self.size))
            for number in here:
                self._half.here[number] = 1
                self._urgent.pop(number, None)
                self._soon.pop(number, None)
            self._next, self._opened_at = 0, clock.monotonic()
            self._read_at = max(self._read_at, self._opened_at + UNTIL_READ_S - QUIET_S)
            self._changed()

    def whole(self, path: Path) -> None:
        """The file is complete, and there."""
        with path.open("rb") as file, self._change:
            self._half = _Half(file.fileno(), count(self.size))
            self._half.here[:] = b"\1" * count(self.size)
            self._urgent.clear()
            self._changed()

    def came(self, numbers: Sequence[int]) -> None:
        """These blocks are in the file now, and verified."""
        with self._change:
            if self._half is None:
                return
            for number in numbers:
                self._half.here[number] = 1
                self._urgent.pop(number, None)
                self._soon.pop(number, None)
            self._changed()

    def pick(self, lacks: Callable[[int], bool]) -> list[int]:
        """Which of the lacking blocks to ask for next, in rising order; none for now while what is read may need the link."""
        with self._change:
            if not self._urgent and not self._soon and self._rests():
                likely = self._onward(lacks, len(self._likely), SMALL)
                if likely:
                    return likely
                self._change.wait(_LOOK_S)
            for wanted in (self._urgent, self._soon):
                if wanted:
                    return sorted(filter(lacks, islice(wanted, ASK_AT_MOST)))
            if self._rests():
                return []
            busy = clock.monotonic() - self._read_at < QUIET_S
            at_most = (SMALL if busy else LARGE) if self._is_patient else LARGEST
            return self._onward(lacks, len(self._likely) + count(self.size), at_most)

    def _rests(self) -> bool:
        now = clock.monotonic()
        return self._is_patient and now - self._read_at < QUIET_S and now - self._opened_at < BOOT_S

    def _onward(self, lacks: Callable[[int], bool], end: int, at_most: int) -> list[int]:
        """The next lacking ones: those likely to be read in their order, then all."""
        found: dict[int, None] = {}
        place = self._next
        likely = len(self._likely)
        while place < end and len(found) < at_most:
            number = self._likely[place] if place < likely else place - likely
            if lacks(number):
                found[number] = None
            place += 1
            if not found:
                self._next = place
        return sorted(found)
