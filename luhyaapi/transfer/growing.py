"""Files that are being fetched, as far as they are verified: what may be passed on before the whole is here."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from luhyaapi import clock
from luhyaapi.transfer import frames
from luhyaapi.transfer.blocks import BLOCK, HOLE, Index, read, spans

PATIENCE_S = 3.0
"""An answer that has nothing to send for so long ends; its asker goes to somebody else."""
_TOGETHER = 4
"""Blocks in a frame of what is just coming: fewer than of a file, so that the next one in a row waits less."""
_KEPT, _FRAMES_KEPT = 16 * 1024 * 1024, 256
"""Bytes and number of the frames that came last: who follows closely is given them as they are, and nobody packs them again."""
_FEW = 64
"""Who asks for so few blocks waits for them; who asks for more takes what comes."""
_MOST = 0.75
"""A frame is passed on when so much of it is wanted."""
_LOOK_S = 0.02


class Growing:
    """A file that grows: which of its blocks are here. One thread adds, any number give."""

    def __init__(self, path: Path, index: Index, ask: Callable[[Sequence[int]], None]) -> None:
        self.index, self._ask = index, ask
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._here = bytearray(len(index))
        self._came: list[int] = []
        self._packed: deque[tuple[frozenset[int], int, bytes]] = deque()
        self._kept = 0
        self._lock = threading.Lock()
        self._is_over = False

    def add(self, numbers: Iterable[int], frame: bytes = b"") -> None:
        """These blocks are in the file now, verified; they came in ``frame``."""
        came = frozenset(numbers)
        with self._lock:
            for number in sorted(came):
                if not self._here[number]:
                    self._here[number] = 1
                    self._came.append(number)
            if frame:
                self._packed.append((came, len(frames.names(frame)), frame))
                self._kept += len(frame)
            while self._kept > _KEPT or len(self._packed) > _FRAMES_KEPT:
                self._kept -= len(self._packed.popleft()[2])

    def end(self) -> None:
        """No more of it comes; answers under way end with what there is."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                os.close(self._fd)

    def frames(self, wanted: Sequence[int], patience_s: float) -> Iterator[bytes]:
        """Frames of these blocks as they come, those that are here first; fewer when nothing came for ``patience_s``."""
        filled = {number for number in wanted if self.index[number] != HOLE}
        with self._lock:
            if self._is_over:
                return
            fd = os.dup(self._fd)
        try:
            yield from self._frames(fd, filled, patience_s)
        finally:
            os.close(fd)

    def _frames(self, fd: int, left: set[int], patience_s: float) -> Iterator[bytes]:
        seen, since, is_waiting = 0, clock.monotonic(), len(left) <= _FEW
        while left:
            with self._lock:
                news, is_over = self._came[seen:], self._is_over
                ready = left.intersection(news)
                packed = tuple(self._packed) if ready else ()
            first_look, seen = seen == 0, seen + len(news)
            left -= ready
            if is_waiting and left and (ready or first_look):
                self._ask(sorted(left))
            if ready:
                since = clock.monotonic()
            elif not news:
                if is_over or clock.monotonic() - since > patience_s:
                    return
                clock.sleep(_LOOK_S)
            for numbers, blocks, frame in packed:
                # of a block that lies in several places one is asked for
                if _MOST * blocks <= len(numbers & ready):
                    ready -= numbers
                    yield frame
            for first, end in spans(sorted(ready), _TOGETHER):
                data = read(fd, first * BLOCK, min(end * BLOCK, self.index.size) - first * BLOCK)
                yield frames.pack([self.index[n] for n in range(first, end)], data, frames.ON_THE_WAY)


_growing: dict[tuple[str, str], Growing] = {}
_growing_lock = threading.Lock()


def _key(folder: Path, sha256: str) -> tuple[str, str]:
    return str(folder.resolve()), sha256


def of(folder: Path, sha256: str) -> Growing | None:
    """The file of that content that this process fetches into the cache in ``folder``; None when it fetches none."""
    with _growing_lock:
        return _growing.get(_key(folder, sha256))


def begin(folder: Path, sha256: str, path: Path, index: Index, ask: Callable[[Sequence[int]], None] = lambda _numbers: None) -> Growing:
    """The file at ``path`` grows from now on, to become that content of the cache in ``folder``. ``ask`` hears which blocks are waited for."""
    made = Growing(path, index, ask)
    with _growing_lock:
        _growing[_key(folder, sha256)] = made
    return made


def end(folder: Path, sha256: str, growing: Growing) -> None:
    """It grows no more: it is whole and has its name, or it came to nothing."""
    with _growing_lock:
        if _growing.get(_key(folder, sha256)) is growing:
            del _growing[_key(folder, sha256)]
    growing.end()
