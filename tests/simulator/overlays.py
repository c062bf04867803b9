"""Disks of guests without a program: what qemu-img does for a node, done in this process on the same files, and what a guest writes."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luhyaapi.errors import Failed
from luhyaapi.process import Finished
from nc.services import disks

CLUSTER = 64 * 1024
_HEAD = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_FORMAT = 0xE2792ACA
_COPIED = 1 << 63
_AT = (1 << 56) - 512
_ENTRIES = CLUSTER // 8


def create(file: Path, base: str, base_format: str, size: int) -> None:
    """A qcow2 overlay with nothing in it, of one refcount block; ``size`` of its disk in bytes."""
    tables = max(-(-size // (CLUSTER * _ENTRIES)), 1)
    extension = struct.pack(">II", _FORMAT, len(base_format)) + base_format.encode().ljust(-(-len(base_format) // 8) * 8, b"\0") + bytes(8)
    name_at = _HEAD.size + len(extension)
    head = _HEAD.pack(b"QFI\xfb", 3, name_at, len(base.encode()), 16, size, 0, tables, 3 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, _HEAD.size)
    with file.open("xb") as out:
        out.write(head + extension + base.encode())
        out.seek(CLUSTER)
        out.write(struct.pack(">Q", 2 * CLUSTER))
        out.seek(2 * CLUSTER)
        out.write(struct.pack(">HHHH", 1, 1, 1, 1))
        out.truncate(4 * CLUSTER)


class Overlay:
    """An overlay that is open: where its clusters lie, and a guest's writes of whole clusters."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        head = os.pread(fd, _HEAD.size, 0)
        if len(head) < _HEAD.size or head[:4] != b"QFI\xfb":
            raise Failed("program", "qemu-img ended with 1", "Image is not in qcow2 format")
        found = _HEAD.unpack(head)
        self._name, self.size, self._tables, self._table, self._extensions = (found[2], found[3]), found[5], found[7], found[8], found[-1]

    def base(self) -> tuple[str, str]:
        """The file below and its format."""
        kind, length = struct.unpack(">II", os.pread(self._fd, 8, self._extensions))
        format_ = os.pread(self._fd, length, self._extensions + 8) if kind == _FORMAT else b""
        return os.pread(self._fd, self._name[1], self._name[0]).decode(), format_.decode()

    def places(self) -> Iterator[tuple[int, int]]:
        """Clusters that were written, as (number, offset in the file)."""
        for n, table in enumerate(struct.unpack(f">{self._tables}Q", os.pread(self._fd, 8 * self._tables, self._table))):
            if table & _AT:
                entries = struct.unpack(f">{_ENTRIES}Q", os.pread(self._fd, CLUSTER, table & _AT))
                yield from ((n * _ENTRIES + m, entry & _AT) for m, entry in enumerate(entries) if entry & _AT)

    def write(self, number: int, data: bytes) -> None:
        """The guest writes a cluster, through to the disk."""
        at = self._table + 8 * (number // _ENTRIES)
        (table,) = struct.unpack(">Q", os.pread(self._fd, 8, at))
        if not table & _AT:
            table = self._new(bytes(CLUSTER)) | _COPIED
            os.pwrite(self._fd, struct.pack(">Q", table), at)
        entry = (table & _AT) + 8 * (number % _ENTRIES)
        (here,) = struct.unpack(">Q", os.pread(self._fd, 8, entry))
        if here & _AT:
            os.pwrite(self._fd, data, here & _AT)
        else:
            os.pwrite(self._fd, struct.pack(">Q", self._new(data) | _COPIED), entry)
        os.fsync(self._fd)

    def _new(self, data: bytes) -> int:
        number = -(-os.fstat(self._fd).st_size // CLUSTER)
        os.pwrite(self._fd, data, number * CLUSTER)
        os.pwrite(self._fd, struct.pack(">H", 1), 2 * CLUSTER + 2 * number)
        return number * CLUSTER


@contextmanager
def opened(file: Path) -> Iterator[Overlay]:
    """An overlay, to be read and written."""
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield Overlay(fd)
    finally:
        os.close(fd)


def _create(words: list[str]) -> str:
    options = {o: words[words.index(o) + 1] for o in ("-F", "-b")}
    at = words.index("-b") + 2
    size = int(words[at + 1]) if len(words) > at + 1 else Path(options["-b"]).stat().st_size
    create(Path(words[at]), options["-b"], options["-F"], size)
    return ""


def _info(words: list[str]) -> str:
    file = Path(words[-1])
    if words[words.index("-f") + 1] == "raw":
        return json.dumps({"virtual-size": file.stat().st_size})
    with opened(file) as overlay:
        name, kind = overlay.base()
        return json.dumps({"virtual-size": overlay.size, "backing-filename": name, "backing-filename-format": kind})


def _map(words: list[str]) -> str:
    found: list[dict[str, Any]] = []
    with opened(Path(json.loads(words[-1].removeprefix("json:"))["file"]["filename"])) as overlay:
        places = dict(overlay.places())
        for number in range(-(-overlay.size // CLUSTER)):
            start = number * CLUSTER
            length, at = min(CLUSTER, overlay.size - start), places.get(number)
            here = {"present": True, "zero": False, "data": True, "offset": at} if at else {"present": False, "zero": True, "data": False}
            found.append({"start": start, "length": length, "depth": 0, **here})
    return json.dumps(found)


_VERBS: dict[str, Callable[[list[str]], str]] = {"create": _create, "info": _info, "map": _map}


def run(argv: Sequence[str | Path], **_how: Any) -> Finished:
    """As :func:`luhyaapi.process.run`, of qemu-img only."""
    words = [str(word) for word in argv]
    return Finished(0, _VERBS[words[1]](words[2:]).encode(), b"")


@contextmanager
def installed() -> Iterator[None]:
    """Nodes make their disks so while this is open."""
    before = disks.run
    disks.run = run
    try:
        yield
    finally:
        disks.run = before
