"""Writing files with holes: blocks of zeros take no space on the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

BLOCK = 64 * 1024
_ZEROS = bytes(BLOCK)


class SparseFile:
    """A file written from front to back, with holes where zeros are; ``position`` counts every byte, holes too.

    Opened at ``position`` (what lies behind it is cut off). Raises OSError like any file.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self.position = position
        os.ftruncate(self._fd, position)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Add ``data`` at the end."""
        begin = 0
        for start, end in _filled(data):
            _put(self._fd, data if (start, end) == (0, len(data)) else data[start:end], self.position + start)
            begin = end
        if begin < len(data):
            os.ftruncate(self._fd, self.position + len(data))
        self.position += len(data)

    def skip(self, length: int) -> None:
        """Add a hole of ``length`` bytes at the end."""
        os.ftruncate(self._fd, self.position + length)
        self.position += length

    def restart(self) -> None:
        """Throw away what was written."""
        os.ftruncate(self._fd, 0)
        self.position = 0

    def sync(self) -> None:
        """Have everything on the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close it; what was written stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class HoledFile:
    """A file of ``size`` bytes written in any order, with holes where nothing was written; what is in it already stays."""

    def __init__(self, path: Path, size: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        os.ftruncate(self._fd, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        """Its descriptor."""
        return self._fd

    def put(self, offset: int, data: bytes | memoryview) -> None:
        """Write there."""
        _put(self._fd, data, offset)

    def sync(self) -> None:
        """Have everything on the disk."""
        os.fsync(self._fd)


def _put(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _filled(data: bytes) -> list[tuple[int, int]]:
    """The runs of ``data`` that are not whole blocks of zeros, as (start, end)."""
    runs: list[tuple[int, int]] = []
    for start in range(0, len(data), BLOCK):
        end = min(start + BLOCK, len(data))
        if end - start == BLOCK and data[start] == 0 and data[end - 1] == 0 and data[start:end] == _ZEROS:
            continue
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(file: Path) -> None:
    """Have the bytes of a file on the disk that somebody else wrote."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
