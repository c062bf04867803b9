"""A content-addressed store of files with quota, pins and eviction; safe for several processes at once."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luhyaapi import clock, points
from luhyaapi.contracts.specs import Half
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.blocks import Index, index_of
from luhyaapi.transfer.pace import Pace
from luhyaapi.transfer.sparse import sync_folder

_SHA256 = re.compile("[0-9a-f]{64}")
_OWNER = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNTIL = re.compile(r".*\.until-([0-9]{1,12})")
_MIB = 1024 * 1024


def named(sha256: str) -> str:
    """The digest itself, if it is one. Raises Refused(invalid)."""
    if not _SHA256.fullmatch(sha256):
        raise Refused("invalid", "That is not a sha256", f"{sha256[:80]!r}: 64 lower-case hexadecimal digits are expected")
    return sha256


class BlobCache:
    """Files named by their content, below ``folder``.

    ``quota_mib`` bounds what the files take on the disk, ``keep_free_mib`` is never taken from the file system (MiB); into it
    nothing is fetched faster than ``take_mbit`` (Mbit/s, 0: any).
    A file gets its name only when it is complete, on the disk and checked; its index lies beside it. Half files are in ``parts``.
    """

    def __init__(self, folder: Path, quota_mib: int, keep_free_mib: int, take_mbit: float = 0) -> None:
        self.folder = folder
        self.pace = Pace(take_mbit)
        self._quota = quota_mib * _MIB
        self._keep_free = keep_free_mib * _MIB
        self._blobs, self._parts, self._pins = folder / "blobs", folder / "parts", folder / "pins"
        for each in (self._blobs, self._parts, self._pins):
            each.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path | None:
        """The file with that content, now the latest used; or None."""
        file = self._place(sha256)
        try:
            os.utime(file, (clock.now(), clock.now()))
        except FileNotFoundError:
            return None
        except PermissionError:
            # a hypervisor may have taken the file over while a guest runs on it; it is pinned then
            return file
        return file

    def place(self, sha256: str) -> Path:
        """Where the file with that content is or will be."""
        return self._place(sha256)

    def index(self, sha256: str) -> Index:
        """The index of a file that is here; made anew where it is lost or damaged. Raises Refused(not_found)."""
        file = self._place(sha256)
        try:
            size = file.stat().st_size
        except FileNotFoundError as e:
            raise Refused("not_found", "These bytes are not here", sha256) from e
        try:
            return Index(size, _index_file(file).read_bytes())
        except (OSError, Failed):
            with self._locked():
                return self._keep(index_of(file), file)

    def latest(self) -> list[Path]:
        """The files of everything that is here, complete, the latest used first; that counts as no use of them."""
        return sorted(self._files(), key=_last_used, reverse=True)

    def part(self, sha256: str) -> Path:
        """Where the half file of that content grows; whoever holds :meth:`fetching` writes it."""
        return self._parts / f"{named(sha256)}.part"

    def sha256s(self) -> list[str]:
        """Everything that is here, complete."""
        return sorted(file.name for file in self._files())

    def halves(self) -> tuple[Half, ...]:
        """What is here of files that are not complete."""
        return tuple(Half(sha256=part.name.removesuffix(".part"), size=_taken(part)) for part in sorted(self._parts.glob("*.part")))

    def used(self) -> int:
        """Bytes taken on the disk, complete and half files; indexes are too small to count."""
        return sum(_taken(file) for file in (*self._files(), *self._parts.glob("*.part")))

    def adopt(self, file: Path, sha256: str, index: Index | None = None) -> Path:
        """Give a complete, checked file of the same file system its name. The same content twice is kept once."""
        final = self._place(sha256)
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        with self._locked():
            if final.is_file():
                file.unlink()
                return final
            final.parent.mkdir(exist_ok=True)
            sync_folder(self._blobs)
            self._keep(index or index_of(file), final)
            os.utime(file, (clock.now(), clock.now()))
            file.chmod(0o444)
            points.at("blob: before rename")
            file.rename(final)
            points.at("blob: after rename")
            sync_folder(final.parent)
        return final

    def pin(self, sha256: str, owner: str, until: float = 0) -> None:
        """Keep that content, here already or not yet, while ``owner`` (an id) needs it, or only ``until`` then (seconds since 1970)."""
        with self._locked():
            pin = self._pin(sha256, owner, until)
            pin.parent.mkdir(exist_ok=True)
            pin.touch()

    def unpin(self, sha256: str, owner: str, until: float = 0) -> None:
        """``owner`` needs it no more; harmless when it never did."""
        with self._locked():
            pin = self._pin(sha256, owner, until)
            pin.unlink(missing_ok=True)
            _drop_empty(pin.parent)

    def pins(self) -> dict[str, set[str]]:
        """Who needs what: digest to owners; without pins whose time is over."""
        owners = {}
        for each in self._pins.iterdir():
            try:
                owners[each.name] = {pin.name for pin in each.iterdir() if not _is_over(pin)}
            except FileNotFoundError:
                continue
        return {sha256: names for sha256, names in owners.items() if names}

    def remove(self, sha256: str) -> bool:
        """Remove that content, its half file too; whether it was here. Raises Refused(state) while it is pinned."""
        with self._locked():
            owners = self.pins().get(named(sha256))
            if owners:
                raise Refused("state", "The image file is in use", f"{sha256[:12]} is needed by {', '.join(sorted(owners))}")
            found = self._place(sha256)
            here = found.is_file()
            _drop(found)
            self._drop_part(self.part(sha256))
        return here

    def evict(self, wanted: int = 0) -> int:
        """Remove the longest unused content nobody pinned until quota and free space leave ``wanted`` bytes; bytes freed."""
        freed = 0
        with self._locked():
            missing = self._missing(wanted)
            pinned = self.pins()
            for file in sorted(self._files(), key=_last_used) if missing > 0 else ():
                if missing - freed <= 0:
                    break
                if not pinned.get(file.name):
                    freed += _taken(file)
                    _drop(file)
        return freed

    def room(self, wanted: int, *, evict: bool = True) -> None:
        """Make room for ``wanted`` more bytes, by eviction unless this is a store that keeps everything.

        Raises Failed(disk_full) when it cannot be made.
        """
        if self._missing(wanted) <= 0:
            return
        if evict:
            self.evict(wanted)
        missing = self._missing(wanted)
        if missing > 0:
            raise Failed(
                "disk_full", "There is no room for the image",
                f"{wanted // _MIB} MiB are needed, {missing // _MIB + 1} MiB are missing in {self.folder}",
            )

    def sweep(self, idle_s: float) -> int:
        """Remove half files nobody writes and nobody touched for ``idle_s`` seconds; how many. And pins whose time is over."""
        before = clock.now() - idle_s
        gone = 0
        with self._locked():
            for pin in list(self._pins.glob("*/*")):
                if _is_over(pin):
                    pin.unlink(missing_ok=True)
                    _drop_empty(pin.parent)
        for index in self._parts.glob("*.index.*"):
            if _last_used(index) < before:
                index.unlink(missing_ok=True)
        for part in self._parts.glob("*.part"):
            if _last_used(part) < before:
                gone += self._drop_part(part)
        return gone

    @contextmanager
    def fetching(self, sha256: str) -> Iterator[bool]:
        """Try to be the only one, among all processes, who writes that half file; yields whether we are."""
        fd = _try_lock(self._parts / f"{named(sha256)}.lock")
        try:
            yield fd >= 0
        finally:
            if fd >= 0:
                # unlinked while still locked: whoever opened the old file sees that it has no name any more
                (self._parts / f"{sha256}.lock").unlink(missing_ok=True)
                os.close(fd)

    def _keep(self, index: Index, file: Path) -> Index:
        fresh = self._parts / f"{file.name}.index.{os.getpid()}"
        with fresh.open("wb") as opened:
            opened.write(index.data)
            opened.flush()
            # of the right length it is believed: zeros after a power cut would be a wrong index for ever
            os.fsync(opened.fileno())
        fresh.chmod(0o440)
        fresh.rename(_index_file(file))
        return index

    def _missing(self, wanted: int) -> int:
        over_quota = self.used() + wanted - self._quota
        too_little_free = self._keep_free + wanted - shutil.disk_usage(self.folder).free
        return max(over_quota, too_little_free)

    def _drop_part(self, part: Path) -> bool:
        with self.fetching(part.name.split(".")[0]) as ours:
            if ours:
                part.unlink(missing_ok=True)
        return ours

    def _files(self) -> list[Path]:
        return [file for file in self._blobs.glob("??/*") if _SHA256.fullmatch(file.name)]

    def _place(self, sha256: str) -> Path:
        return self._blobs / named(sha256)[:2] / sha256

    def _pin(self, sha256: str, owner: str, until: float) -> Path:
        if not _OWNER.fullmatch(owner):
            raise Refused("invalid", "That cannot own a pin", f"{owner[:80]!r}: an id is expected")
        # in the name: a crash leaves a pin with its end, or none
        return self._pins / named(sha256) / (f"{owner}.until-{int(until)}" if until else owner)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _index_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.index")


def _drop(file: Path) -> None:
    file.unlink(missing_ok=True)
    _index_file(file).unlink(missing_ok=True)


def _is_over(pin: Path) -> bool:
    until = _UNTIL.fullmatch(pin.name)
    return until is not None and int(until[1]) <= clock.now()


def _drop_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _try_lock(path: Path) -> int:
    """A descriptor that holds the lock of ``path``, with our pid in it; -1 when somebody else holds it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                return fd
        except BlockingIOError:
            os.close(fd)
            return -1
        os.close(fd)


def _taken(file: Path) -> int:
    try:
        return file.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _last_used(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
