"""The disks of a simulated site: what was not synced is gone after a power cut, and journals live in memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from luhyaapi import journal


class _Kept(sqlite3.Connection):
    """Stays open when its role dies: what was committed is on the disk."""

    def close(self) -> None:
        if self.in_transaction:
            self.execute("rollback")

    def let_go(self) -> None:
        super().close()


class Disks:
    """All folders of one run. ``synced`` holds the inodes that reached the plate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.synced: set[int] = set()
        self._journals: dict[Path, _Kept] = {}

    def journal(self, path: Path) -> sqlite3.Connection:
        """The journal of that name, in memory."""
        if path not in self._journals:
            self._journals[path] = sqlite3.connect(":memory:", isolation_level=None, factory=_Kept)
        return self._journals[path]

    def journals(self) -> dict[str, bytes]:
        """Every journal's bytes, by its role."""
        return {path.parent.name: db.serialize() for path, db in self._journals.items()}

    def give_journal(self, path: Path, data: bytes) -> None:
        """A journal with that content."""
        db = self.journal(path)
        db.deserialize(data)

    def fsync(self, fd: int) -> None:
        """What stands for os.fsync."""
        self.synced.add(os.fstat(fd).st_ino)

    def cut_power(self, state: Path) -> list[str]:
        """Files of a role that were never synced are empty now; which, by their place below ``state``."""
        lost = []
        for name in ("instances", "cache", "store", "joins"):
            for file in sorted((state / name).rglob("*")) if (state / name).is_dir() else ():
                if file.is_file() and file.stat().st_size and file.stat().st_ino not in self.synced and file.name != "console.log":
                    lost.append(str(file.relative_to(state)))
                    file.chmod(0o644)
                    os.truncate(file, 0)
        return lost

    def close(self) -> None:
        """Forget everything."""
        for db in self._journals.values():
            db.let_go()
        self._journals.clear()


@contextmanager
def installed(disks: Disks) -> Iterator[None]:
    """Journals open in memory and a sync is only remembered, while this is open."""
    before: Callable[[int], None] = os.fsync
    opener = journal.use(disks.journal)
    os.fsync = disks.fsync
    try:
        yield
    finally:
        os.fsync = before
        journal.use(opener)
        disks.close()
