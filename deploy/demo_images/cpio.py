"""Writes the kernel's early file system (newc cpio, gzip): the same entries always give the same bytes."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable
from dataclasses import dataclass

_END = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file of the archive: ``mode`` with its type bits; ``device`` is (major, minor) of a character device."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str) -> Entry:
    """A folder everybody may read."""
    return Entry(path, stat.S_IFDIR | 0o755)


def plain(path: str, data: bytes) -> Entry:
    """A file; a script or a program may be run."""
    runs = data.startswith((b"#!", b"\x7fELF")) and not path.endswith(".ko")
    return Entry(path, stat.S_IFREG | (0o755 if runs else 0o644), data)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def device(path: str, major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The entries and the folders above them as one gzip file. A later entry of the same path wins.

    Raises ValueError for a path that is absolute or climbs.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        parts = entry.path.split("/")
        if entry.path == _END or any(p in ("", ".", "..") for p in parts):
            raise ValueError(f"not a path inside the archive: {entry.path!r}")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            found.setdefault(above, folder(above))
        found[entry.path] = entry
    out = bytearray()
    for number, path in enumerate(sorted(found), start=1):
        out += _record(found[path], number)
    out += _record(Entry(_END, 0), 0)
    out += bytes(-len(out) % 512)
    return gzip.compress(bytes(out), compresslevel=9, mtime=0)


def _record(entry: Entry, number: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % value for value in fields) + name
    return head + bytes(-len(head) % 4) + entry.data + bytes(-len(entry.data) % 4)
