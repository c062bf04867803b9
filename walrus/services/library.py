"""The image store: uploads that grow piece by piece, checked as a whole, then kept by their content."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from luhyaapi import clock, log
from luhyaapi.contracts.specs import MIB, Blob, PartFacts, UploadPart
from luhyaapi.contracts.vocabulary import Part
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.files import write_atomic
from luhyaapi.transfer.base import CHUNK, Cancelled, never
from luhyaapi.transfer.sparse import SparseFile, sync_folder
from walrus.services.blockstore import BlockStore
from walrus.services.drafts import Drafts
from walrus.services.inspection import LARGEST_MIB
from walrus.services.publishing import Ready, Tell, make_ready
from walrus.services.receipts import Published, Receipts

_log = log.get(__name__)
_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_UPLOADS_AT_MOST = 64
_LOOK_S = 1.0
IDLE_S = 24 * 3600.0


class Stream(Protocol):
    """Where the bytes of a piece come from."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; empty at the end."""


class Library:
    """Uploads below ``folder``, finished images in ``store``. Safe for several threads.

    ``largest_mib`` bounds a disk, as file and as disk (MiB).
    """

    def __init__(self, folder: Path, store: BlockStore, *, largest_mib: int = LARGEST_MIB) -> None:
        self._uploads = folder / "uploads"
        self._uploads.mkdir(parents=True, exist_ok=True)
        for half in self._uploads.glob(".*"):  # begun by a process that died
            shutil.rmtree(half, ignore_errors=True)
        self._store = store
        self._receipts = Receipts(folder, store)
        self._largest_mib = largest_mib
        self.drafts = Drafts(folder / "drafts", store, largest_mib)

    def open_upload(self, upload_id: str, parts: Sequence[tuple[str, int]]) -> None:
        """Begin an upload of ``parts`` (name, size in bytes); the same again is harmless.

        Raises Refused(invalid), Refused(conflict) for other parts, Refused(state) when it is published already,
        Refused(quota), Failed(disk_full).
        """
        wanted = self._checked(parts)
        folder = self._folder(upload_id)
        if self._receipts.has(upload_id):
            raise Refused("state", "This upload is published already")
        if folder.is_dir():
            if self._sizes(upload_id) != wanted:
                raise Refused("conflict", "This upload was begun with other parts")
            return
        self._begin(folder, wanted)

    def open_import(self, upload_id: str, part: Part) -> Path:
        """Begin an upload of one file that is brought here as a whole, its size not known before; where it belongs.

        The same again is harmless. Raises Refused(quota), Failed(disk_full).
        """
        folder = self._folder(upload_id)
        if not folder.is_dir():
            self._begin(folder, {part.value: 0})
        return _part_file(folder, part)

    def write(self, upload_id: str, part: str, offset: int, stream: Stream, length: int) -> int:
        """Take ``length`` bytes from ``stream`` that belong at ``offset``; returns the bytes received of that part.

        Bytes that are here already are read over, so that saying a piece again is harmless. What came before a cut stays.
        Raises Refused(not_found), Refused(state) when bytes before ``offset`` are missing, Refused(invalid) beyond the
        announced size, Unavailable(busy) while somebody else writes that part, Unavailable(transfer), Failed(disk_full).
        """
        size = self._sizes(upload_id).get(part)
        if size is None:
            raise Refused("not_found", "This upload has no such part", repr(part[:40]))
        if offset < 0 or length < 0 or offset + length > size:
            raise Refused("invalid", "The piece does not fit", f"{offset} + {length} is more than the announced {size} bytes")
        file = self._folder(upload_id) / f"{part}.part"
        with _alone(file) as received:
            if offset > received:
                raise Refused("state", "A piece before this one is missing", f"{received} bytes were received so far")
            with SparseFile(file, received) as growing:
                _pour(stream, length, received - offset, growing)
                return growing.position

    def received(self, upload_id: str) -> dict[str, int]:
        """Bytes received of each part. Raises Refused(not_found)."""
        folder = self._folder(upload_id)
        return {part: _size(folder / f"{part}.part") for part in self._sizes(upload_id)}

    def abandon(self, upload_id: str) -> None:
        """Forget an upload, and what a publish that came to nothing brought of it; harmless when there is none."""
        folder = self._folder(upload_id)
        self._receipts.give_back(upload_id)
        shutil.rmtree(folder, ignore_errors=True)

    def drop(self, draft: str) -> None:
        """The same of a draft."""
        self.drafts.abandon(draft)
        if _ID.fullmatch(draft):
            self._receipts.give_back(draft)

    def publish(
        self, upload_id: str, parts: Sequence[UploadPart], *, cancelled: Cancelled = never, tell: Tell = lambda *_: None,
    ) -> Published:
        """Check a finished upload against what was announced, make its disk raw and keep it.

        Harmless when said again, also after a crash in the middle. Whatever is wrong, nothing of the upload stays:
        Refused(image_format), Failed(digest), Refused(invalid) when it is not complete, Refused(cancelled), Failed(disk_full),
        Refused(not_found) when there never was one. Unavailable(busy) while somebody still sends changes nothing.
        """
        if len({blob.part for blob in parts}) != len(parts):
            raise Refused("invalid", "A part is named twice")
        folder = self._folder(upload_id)
        published = self.published(upload_id)
        if not published and not folder.is_dir():
            raise Refused("not_found", "There is no such upload", repr(upload_id))
        try:
            with ExitStack() as quiet:
                for file in (_part_file(folder, part.part) for part in parts):
                    if file.is_file():
                        quiet.enter_context(_alone(file))
                if not published:
                    stopped = self._watched(cancelled)
                    files = self._made_ready(folder, parts, stopped, tell)
                    self._receipts.expect(upload_id, (file.sha256 for file in files))
                    published = self._kept(files, stopped, tell)
                    self._receipts.write(upload_id, published)
        except (Refused, Failed) as e:
            _log.info("upload refused", upload=upload_id, code=e.code, why=e.why)
            self.abandon(upload_id)
            raise
        self.abandon(upload_id)
        sync_folder(self._uploads)
        return published

    def adopt(self, draft: str, *, cancelled: Cancelled = never, tell: Tell = lambda *_: None) -> Published:
        """Keep a disk that came whole as a draft. Harmless when said again.

        Raises Refused(not_found), Refused(state) while blocks are lacking, Refused(cancelled), Failed(digest).
        """
        if not self.drafts.has(draft) and (published := self.published(draft)):
            return published
        found = self.drafts.find(draft)
        try:
            sha256 = self._store.sha256_of(found.index, cancelled=cancelled, on_progress=partial(tell, "check"))
            self._receipts.expect(draft, (sha256,))
            self._store.keep(sha256, found.index)
            size = found.index.size
            published = Published(
                blobs=(Blob(part=Part.DISK, sha256=sha256, index=found.index.name, size=size, virtual_size=size),),
                parts=(PartFacts(part=Part.DISK, filled=found.index.filled(), added=found.grew),),
            )
            self._receipts.write(draft, published)
        except (Refused, Failed):
            self._receipts.give_back(draft)
            raise
        self.drafts.abandon(draft)
        return published

    def published(self, upload_id: str) -> Published | None:
        """What an earlier publish of this upload found, if all of it is still here."""
        return self._receipts.published(self._folder(upload_id).name)

    def delete(self, blobs: Sequence[Blob], keep: set[str]) -> int:
        """Remove these blobs, except the digests in ``keep`` that other versions need; how many went."""
        gone = sum(self._store.remove(sha256) for sha256 in {blob.sha256 for blob in blobs} - keep)
        self._store.collect()
        return gone

    def sweep(self, idle_s: float = IDLE_S) -> list[str]:
        """Forget uploads and drafts that nobody touched for ``idle_s`` seconds; their ids."""
        before = clock.now() - idle_s
        old = [folder for folder in self._uploads.iterdir() if _latest(folder) < before]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        self._receipts.sweep(before)
        return sorted([*(folder.name for folder in old), *self.drafts.sweep(idle_s)])

    def _begin(self, folder: Path, wanted: dict[str, int]) -> None:
        if sum(1 for _ in self._uploads.iterdir()) >= _UPLOADS_AT_MOST:
            raise Refused("quota", "Too many uploads are open", f"at most {_UPLOADS_AT_MOST}")
        self._store.room(sum(wanted.values()))
        fresh = self._uploads / f".{folder.name}.{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir()
            write_atomic(fresh / "parts.json", json.dumps(wanted).encode())
            with contextlib.suppress(OSError):
                # somebody else may have begun the same upload meanwhile: theirs stays
                fresh.rename(folder)
            sync_folder(self._uploads)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _checked(self, parts: Sequence[tuple[str, int]]) -> dict[str, int]:
        wanted = dict(parts)
        if not parts or len(wanted) != len(parts) or not all(part in list(Part) for part in wanted):
            raise Refused("invalid", "The parts of the upload are not valid", f"each at most once: {', '.join(Part)}")
        for part, size in wanted.items():
            if not 0 < size <= self._largest_mib * MIB:
                raise Refused("invalid", f"The {part} file cannot have that size", f"1 byte to {self._largest_mib} MiB")
        return wanted

    def _watched(self, cancelled: Cancelled) -> Cancelled:
        """Also ends what unpacks more than there is room for."""
        looked_at = clock.monotonic()

        def stopped() -> bool:
            nonlocal looked_at
            if clock.monotonic() - looked_at > _LOOK_S:
                looked_at = clock.monotonic()
                self._store.room(0)
            return cancelled()

        return stopped

    def _made_ready(self, folder: Path, parts: Sequence[UploadPart], cancelled: Cancelled, tell: Tell) -> list[Ready]:
        for part in parts:
            if (here := _size(_part_file(folder, part.part))) != part.size:
                raise Refused("invalid", f"The {part.part.value} file is not complete", f"{here} of {part.size} bytes are here")
        return [
            make_ready(
                _part_file(folder, part.part), part, folder / f"{part.part.value}.raw", largest_mib=self._largest_mib,
                cancelled=cancelled, tell=tell,
            ) for part in parts
        ]

    def _kept(self, files: list[Ready], cancelled: Cancelled, tell: Tell) -> Published:
        kept = [(file, self._store.add(file.path, file.sha256, cancelled=cancelled, on_progress=partial(tell, "store"))) for file in files]
        return Published(
            blobs=tuple(
                Blob(part=file.announced.part, sha256=file.sha256, index=added.index.name, size=added.index.size, virtual_size=file.virtual_size)
                for file, added in kept
            ),
            parts=tuple(
                PartFacts(part=file.announced.part, sha256=file.sent, size=file.announced.size, was=file.was, filled=added.index.filled(), added=added.grew)
                for file, added in kept
            ),
        )

    def _folder(self, upload_id: str) -> Path:
        if not _ID.fullmatch(upload_id):
            raise Refused("invalid", "That is not the id of an upload", repr(upload_id[:80]))
        return self._uploads / upload_id

    def _sizes(self, upload_id: str) -> dict[str, int]:
        try:
            sizes = json.loads((self._folder(upload_id) / "parts.json").read_text("ascii"))
        except (OSError, ValueError) as e:
            raise Refused("not_found", "There is no such upload", repr(upload_id)) from e
        return {str(part): int(size) for part, size in sizes.items()}


def _part_file(folder: Path, part: Part) -> Path:
    return folder / f"{part.value}.part"


@contextmanager
def _alone(file: Path) -> Iterator[int]:
    """Be the only writer of ``file``; yields its size."""
    try:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except FileNotFoundError as e:
        raise Refused("not_found", "The upload was abandoned meanwhile") from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.fstat(fd).st_size
    except BlockingIOError as e:
        raise Unavailable("busy", "Somebody else is sending this part just now") from e
    finally:
        os.close(fd)


def _pour(stream: Stream, length: int, known: int, growing: SparseFile) -> None:
    """Read ``length`` bytes, leave out the first ``known``, write the rest."""
    left = length
    while left > 0:
        data = stream.read(min(left, CHUNK))
        if not data:
            raise Unavailable("transfer", "The sender stopped in the middle", f"{left} bytes are missing")
        left -= len(data)
        fresh, known = data[known:], max(known - len(data), 0)
        if fresh:
            _grow(growing, fresh)


def _grow(growing: SparseFile, data: bytes) -> None:
    try:
        growing.write(data)
    except OSError as e:
        raise Failed("disk_full", "The upload could not be stored", str(e)) from e


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _latest(folder: Path) -> float:
    try:
        return max(each.stat().st_mtime for each in (folder, *folder.iterdir()))
    except FileNotFoundError:
        return float("inf")
