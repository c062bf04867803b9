"""A folder of this machine keeps the objects."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from luhyaapi import points
from luhyaapi.conf import Settings
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer.sparse import sync_folder
from walrus.drivers.base import PIECE, is_name, missing, named, plain, span

_MIB = 1024 * 1024
_FILE, _FOLDER = 0o640, 0o750
_FULL = (errno.ENOSPC, errno.EDQUOT)
_numbers = itertools.count(1)


def make(settings: Settings) -> LocalStore:
    """The folder below the role's state."""
    return LocalStore(settings.host.state / "store" / "objects", settings.cache.keep_free_mib)


class LocalStore:
    """Objects as files below ``folder``; ``keep_free_mib`` of its file system is never taken (MiB).

    ``packs/17`` is the file ``packs_/17``: no object has an underscore in its name, so ``packs`` may be one too.
    A file gets its name when it is complete and on the disk; half files are in ``.parts``, and those of the dead are
    removed by whoever opens the store next. Links are never followed. Raises Unavailable(interrupted), Refused(forbidden).
    """

    def __init__(self, folder: Path, keep_free_mib: int) -> None:
        with _plainly():
            if not folder.is_dir():
                folder.mkdir(_FOLDER, parents=True, exist_ok=True)
                sync_folder(folder.parent)
            self._folder = folder.resolve()
            self._parts = self._folder / ".parts"
            self._keep_free = keep_free_mib * _MIB
            self._made = {self._folder}
            _within(self._parts)
            self._make(self._parts)
            self._sweep()

    def put(self, name: str, data: bytes) -> None:
        with _plainly():
            place = self._place(name)
            with self._part(len(data)) as (fd, part):
                _write(fd, data)
                self._adopt(fd, part, place)

    def put_file(self, name: str, file: Path) -> None:
        place = self._place(name)
        with plain(file) as opened, _plainly():
            try:
                self._adopt(opened.fileno(), file, place)
            except OSError as e:
                if e.errno != errno.EXDEV:
                    raise
                self._copy(opened, place)
                file.unlink()

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        with _plainly(), self._open(name, start, length) as opened:
            return opened.read() if length is None else opened.read(length)

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        with _plainly():
            return _pieces(self._open(name, start, length), length)

    def size(self, name: str) -> int:
        with _plainly(), self._open(name) as opened:
            return os.fstat(opened.fileno()).st_size

    def names(self, prefix: str) -> Iterator[str]:
        with _plainly():
            yield from sorted(self._below(self._folder, "", prefix))

    def delete(self, name: str) -> None:
        with _plainly():
            place = self._place(name)
            try:
                place.unlink()
            except FileNotFoundError:
                return
            sync_folder(place.parent)

    def path(self, name: str) -> Path | None:
        """The file of an object, so that the kernel can send from it; None when there is none.

        Open it at once: it is replaced and deleted under that name, and an open file stays what it was.
        """
        with _plainly():
            place = self._place(name)
            return place if _is_plain(place) else None

    def _place(self, name: str) -> Path:
        *folders, last = named(name).split("/")
        place = self._folder.joinpath(*(f"{word}_" for word in folders), last)
        _within(place.parent)
        return place

    def _open(self, name: str, start: int = 0, length: int | None = None) -> BufferedReader:
        span(start, length)
        place = self._place(name)
        try:
            opened = plain(place)
        except (FileNotFoundError, Refused) as e:
            raise missing(name) from e
        opened.seek(start)
        return opened

    def _below(self, folder: Path, before: str, prefix: str) -> Iterator[str]:
        with os.scandir(folder) as found:
            for each in found:
                if each.is_dir(follow_symlinks=False) and each.name.endswith("_"):
                    words = f"{before}{each.name[:-1]}/"
                    if words.startswith(prefix) or prefix.startswith(words):
                        yield from self._below(Path(each.path), words, prefix)
                elif each.is_file(follow_symlinks=False):
                    name = before + each.name
                    if name.startswith(prefix) and is_name(name):
                        yield name

    @contextmanager
    def _part(self, size: int) -> Iterator[tuple[int, Path]]:
        """A half file with room for ``size`` bytes; gone at the end, unless it has got its name."""
        free = shutil.disk_usage(self._folder).free
        if free - size < self._keep_free:
            raise Failed("disk_full", "There is no room for the object", f"{free // _MIB} MiB are free, {self._keep_free // _MIB} MiB stay so")
        fd, part = self._begin()
        try:
            yield fd, part
        finally:
            part.unlink(missing_ok=True)
            os.close(fd)

    def _begin(self) -> tuple[int, Path]:
        while True:
            part = self._parts / f"{os.getpid()}.{next(_numbers)}"
            try:
                fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE)
            except FileExistsError:
                continue  # of somebody dead who had our number
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return fd, part
            os.close(fd)  # swept before it was locked

    def _sweep(self) -> None:
        """Remove the half files that nobody holds."""
        for part in self._parts.iterdir():
            try:
                fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)
            except BlockingIOError:
                continue
            finally:
                os.close(fd)

    def _copy(self, opened: BufferedReader, place: Path) -> None:
        with self._part(os.fstat(opened.fileno()).st_size) as (fd, part):
            while data := opened.read(PIECE):
                _write(fd, data)
            self._adopt(fd, part, place)

    def _adopt(self, fd: int, file: Path, place: Path) -> None:
        """Give a complete file, open as ``fd``, its name."""
        os.fchmod(fd, _FILE)
        os.fsync(fd)
        self._make(place.parent)
        points.at("object: before rename")
        file.rename(place)
        points.at("object: after rename")
        sync_folder(place.parent)

    def _make(self, folder: Path) -> None:
        """Have that folder on the disk: what somebody else made just now may not be there yet."""
        if folder in self._made:
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(_FOLDER)
        sync_folder(folder.parent)
        self._made.add(folder)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def _pieces(opened: BufferedReader, length: int) -> Iterator[bytes]:
    with opened, _plainly():
        while length > 0 and (data := opened.read(min(length, PIECE))):
            length -= len(data)
            yield data


def _within(folder: Path) -> None:
    if os.path.realpath(folder) != str(folder):
        raise Refused("state", "The folder of the objects is not as it was left", f"{folder} is reached by a link")


def _is_plain(place: Path) -> bool:
    try:
        return stat.S_ISREG(place.lstat().st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def _plainly() -> Iterator[None]:
    """Say what the file system says in our words."""
    try:
        yield
    except OSError as e:
        if e.errno in _FULL:
            raise Failed("disk_full", "The object could not be stored", str(e)) from e
        if e.errno in (errno.EACCES, errno.EPERM):
            raise Refused("forbidden", "The folder of the objects does not let us in", str(e)) from e
        raise Unavailable("interrupted", "The folder of the objects does not answer", str(e)) from e
