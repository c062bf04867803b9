"""Everything that comes into the store becomes one plain raw disk, with holes where zeros are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Refused, of
from luhyaapi.transfer.base import CHUNK, Cancelled, Progress, never, no_progress
from luhyaapi.transfer.sparse import SparseFile, sync_folder
from walrus.services import formats, ova, qemu_img
from walrus.services.unpacking import Caps, Reader
from walrus.services.verdict import refused

_MIB = 1024 * 1024
_BESIDE_THE_DISK = 64 * _MIB
_HEAD = 512


@dataclass(frozen=True)
class Converted:
    """What became of a file, as a Blob says it: bytes of the raw file, holes too, which are those of the disk; what it ``was``, outermost first."""

    size: int
    virtual_size: int
    was: tuple[str, ...]


def to_raw(
    source: Path, target: Path, *, name: str = "", declared: DiskFormat | None = None, largest_mib: int,
    cancelled: Cancelled = never, on_progress: Progress = no_progress,
) -> Converted:
    """Make ``target`` the raw disk that is in ``source``, whole and on the disk when this returns; ``source`` stays as it is.

    Both are on one file system: a disk that is raw already gets one more name there.

    Taken are qcow2, raw, vmdk of one file, vdi, vhdx and vhd, alone or as the one disk of an ova, each also packed once with
    gz, bz2, xz or zst; what it is, its bytes say, ``name`` only words the refusal. ``declared`` is the format its uploader
    states for the disk itself; another one is refused. ``largest_mib`` bounds the disk. ``on_progress`` is called with bytes
    done and bytes to do; the second number grows once when a packed disk turns out to be one that must also be converted.

    Raises Refused(image_format) with one sentence, Refused(cancelled), Failed(disk_full), Failed(timeout), and
    Failed(missing) or Failed(program) when nothing can be enclosed here. Then nothing is left; when it is killed, what is
    left are files beside ``target`` whose names end in ``.part``, which the next attempt overwrites.
    """
    unpacked, raw = (target.with_name(f"{target.name}.{what}.part") for what in ("unpacked", "raw"))
    try:
        watch = _Watch(cancelled, on_progress, source.stat().st_size)
        was, disk = _bare(source, unpacked, largest_mib, watch)
        looked = formats.look(disk, declared, largest_mib=largest_mib)
        if looked.format != formats.RAW:
            _convert(disk, looked, raw, largest_mib, watch)
        elif disk is unpacked:
            unpacked.rename(raw)
        else:
            raw.unlink(missing_ok=True)
            raw.hardlink_to(source)
        watch.end()
        return _finish(raw, target, (*was, looked.format))
    except Refused as e:
        if e.code == "image_format" and name:
            raise Refused(e.code, f"The file {name[:80]!r} cannot be accepted", e.why, hint=e.hint) from e
        raise
    except OSError as e:
        raise of(e) from e
    finally:
        for part in (unpacked, raw):
            part.unlink(missing_ok=True)


class _Watch:
    """Says how far it is, and ends it when it is cancelled."""

    def __init__(self, cancelled: Cancelled, on_progress: Progress, total: int) -> None:
        self._cancelled = cancelled
        self._on_progress = on_progress
        self.before = 0
        self.total = total

    def at(self, done: int) -> None:
        if self.stops(done):
            raise Refused("cancelled", "Converting the image was cancelled")

    def stops(self, done: int) -> bool:
        """For those who end what they do by themselves."""
        self._on_progress(min(self.before + done, self.total), self.total)
        return self._cancelled()

    def end(self) -> None:
        self.at(self.total)

    def more(self, total: int) -> None:
        """What was done counts, and ``total`` bytes are to do beside it."""
        self.before = self.total if self.before else 0
        self.total = self.before + total


def _bare(source: Path, unpacked: Path, largest_mib: int, watch: _Watch) -> tuple[tuple[str, ...], Path]:
    """The disk file without packing and ova, and what was around it: ``source`` itself when there was nothing."""
    with source.open("rb") as file:
        reader = Reader(file, Caps(largest_mib * _MIB + _BESIDE_THE_DISK))
        head = reader.peek(_HEAD)
        is_ova = ova.is_ova(head)
        was = tuple(each for each in (reader.packing, "ova" if is_ova else "") if each)
        if not was:
            return (), source
        with SparseFile(unpacked) as growing:
            _pour(ova.disk(reader) if is_ova else _rest(reader), growing, watch, reader)
    watch.before = watch.total
    return was, unpacked


def _rest(reader: Reader) -> Iterator[bytes]:
    while data := reader.read(CHUNK):
        yield data


def _pour(pieces: Iterable[bytes], growing: SparseFile, watch: _Watch, reader: Reader) -> None:
    for data in pieces:
        growing.write(data)
        watch.at(reader.taken)


def _convert(disk: Path, looked: formats.Disk, raw: Path, largest_mib: int, watch: _Watch) -> None:
    def stopped() -> bool:
        return watch.stops(raw.stat().st_blocks * 512 if raw.exists() else 0)

    qemu_img.check(disk, looked.format, stopped)
    size = qemu_img.virtual_size(disk, looked.format, stopped)
    if size > largest_mib * _MIB:
        raise refused(f"the disk in it has {size // _MIB} MiB, and at most {largest_mib} MiB are allowed")
    if size != looked.virtual_size and looked.format != "vhd":
        raise refused("its header contradicts itself")
    with SparseFile(raw) as empty:
        empty.skip(size)
    watch.more(size)
    qemu_img.convert(disk, looked.format, raw, size, stopped)


def _finish(raw: Path, target: Path, was: tuple[str, ...]) -> Converted:
    fd = os.open(raw, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
        found = os.fstat(fd)
    finally:
        os.close(fd)
    raw.rename(target)
    sync_folder(target.parent)
    return Converted(found.st_size, found.st_size, was)


