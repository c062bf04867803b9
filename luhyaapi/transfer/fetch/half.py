"""The half file beside the target, and the note that says what it is half of."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from luhyaapi import clock, points
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer.asking import Span
from luhyaapi.transfer.base import CHUNK
from luhyaapi.transfer.digest import Digest
from luhyaapi.transfer.sparse import SparseFile, sync_folder

_WHAT = "The file is too large"
_NOTED_EACH = 32 * 1024 * 1024
_NOTED_EACH_S = 2.0
"""What a crash may cost at most, of bytes and of time: the note of what is on the disk is written so often."""


@dataclass(frozen=True)
class Version:
    """What must be the same when a file is gone on with: ``place`` (a digest of the URL), ``validator`` ("": it cannot be)."""

    place: str = ""
    validator: str = ""
    total: int = -1


@dataclass(frozen=True)
class _Note:
    place: str
    validator: str
    total: int
    position: int
    sha256: str


class Half:
    """``<target>.part`` while it grows. ``position``: bytes here; ``furthest``: most that ever were; ``version``: half of what.

    ``<target>.part.note`` beside it speaks of its first bytes: it is written after they are on the disk and gone before they
    change, so what a crash left is gone on with from there. Used with ``with``: Unavailable keeps both for a later fetch,
    every other error leaves nothing.
    """

    def __init__(self, target: Path, largest: int) -> None:
        self.position = self.furthest = 0
        self.version = Version()
        self._target, self._largest = target, largest
        self._part = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.note")
        self._draft = self._note.with_suffix(".draft")
        self._digest = Digest()
        self._file: SparseFile | None = None
        self._noted = 0
        self._noted_at = clock.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        kept = False
        try:
            kept = isinstance(error, Unavailable) and self._keep()
        finally:
            if error and not kept:
                self.drop()

    def open(self, look: Callable[[], None]) -> None:
        """Take over what an earlier fetch kept, if it is still what that left; else begin anew. ``look`` may raise meanwhile."""
        note = self._read_note()
        if note and self._reread(note, look) and self._digest.result() == note.sha256:
            self.position = self.furthest = self._noted = note.position
            self.version = Version(note.place, note.validator, note.total)
        else:
            self._digest.restart()
            self._unnote()
        self._file = SparseFile(self._part, self.position)

    def begin(self, span: Span, version: Version) -> None:
        """What comes now: bytes ``span`` of ``version``. Raises Failed(digest) for what was not asked for, Refused(quota)."""
        if span.start == 0:
            self._restart()
        elif span.start != self.position:
            raise Failed("digest", "Other bytes came than asked for", f"from {span.start} instead of {self.position}")
        elif self.version.total not in (-1, version.total):
            raise Failed("digest", "Other bytes came than asked for", f"of {version.total} bytes instead of {self.version.total}")
        self.version = version
        if version.total > self._largest:
            raise Refused("quota", _WHAT, f"{version.total} bytes are announced, {self._largest} are allowed")

    def take(self, data: bytes) -> None:
        """Add ``data``. Raises Refused(quota), Failed(digest) for more than announced, OSError."""
        end = self.position + len(data)
        if end > self._largest:
            raise Refused("quota", _WHAT, f"more than the {self._largest} bytes that are allowed came")
        if 0 <= self.version.total < end:
            raise Failed("digest", "Other bytes came than announced", f"more than {self.version.total} bytes")
        self._digest.feed(data)
        self._opened().write(data)
        self.position = end
        self.furthest = max(self.furthest, end)
        if end - self._noted >= _NOTED_EACH or clock.monotonic() - self._noted_at >= _NOTED_EACH_S:
            self._take_note()

    def forget(self) -> None:
        """What is here is half of something else: the next bytes come from the start."""
        self.version = Version()

    def finish(self) -> str:
        """It is whole: give it its name on the disk; its sha256 in hexadecimal digits."""
        file = self._opened()
        file.sync()
        sha256 = self._digest.result()
        self._close()
        self._part.rename(self._target)
        self._unnote()
        return sha256

    def is_noted(self) -> bool:
        """Whether there is something to go on with, if it is still what was left."""
        return self._note.exists()

    def drop(self) -> None:
        """Leave nothing."""
        self._close()
        for each in (self._note, self._draft, self._part):
            each.unlink(missing_ok=True)

    def _close(self) -> None:
        self._digest.close()
        if self._file:
            self._file.close()

    def _keep(self) -> bool:
        """Leave it for a later fetch to go on with; false when that could not prove that it goes on with the same file."""
        # not even opened: what an earlier fetch kept is as it was
        kept = self._file is None or self._take_note()
        if kept:
            self._close()
        return kept

    def _take_note(self) -> bool:
        """Say on the disk what is on the disk; false when nothing could prove that a later answer is of the same file."""
        self._noted, self._noted_at = self.position, clock.monotonic()
        if not self.position or not self.version.validator:
            return False
        self._opened().sync()
        note = _Note(**asdict(self.version), position=self.position, sha256=self._digest.result())
        with self._draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(note), file)
            file.flush()
            os.fsync(file.fileno())
        self._draft.rename(self._note)
        sync_folder(self._note.parent)
        points.at("fetch: noted")
        return True

    def _opened(self) -> SparseFile:
        if self._file is None:
            raise OSError(f"{self._part} is not open")
        return self._file

    def _unnote(self) -> None:
        for each in (self._note, self._draft):
            each.unlink(missing_ok=True)
        sync_folder(self._note.parent)
        self._noted = 0

    def _restart(self) -> None:
        if self.position:
            self._unnote()
        self._opened().restart()
        self._digest.restart()
        self.position = 0

    def _read_note(self) -> _Note | None:
        try:
            note = _Note(**json.loads(self._note.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        kinds = (str, str, int, int, str)
        return note if tuple(map(type, asdict(note).values())) == kinds and 0 < note.position <= self._largest else None

    def _reread(self, note: _Note, look: Callable[[], None]) -> bool:
        """Hash the bytes the note speaks of; whether they are all there."""
        left = note.position
        try:
            with self._part.open("rb") as half:
                while left and (data := half.read(min(CHUNK, left))):
                    look()
                    self._digest.feed(data)
                    left -= len(data)
        except FileNotFoundError:
            return False
        return not left
