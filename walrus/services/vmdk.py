"""VMware's disks, of the two kinds that are one file: monolithicSparse and streamOptimized."""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from walrus.services.verdict import cut_off, read, refused

_SECTOR = 512
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_MARKER = struct.Struct("<QII")
_NEWLINES = b"\n \r\n"
_KNOWN_FLAGS = 0x30007
_COMPRESSED, _MARKERS, _ZERO_GRAINS = 0x10000, 0x20000, 0x4
_AT_END = 0xFFFFFFFFFFFFFFFF
_FOOTER, _END_OF_STREAM = 3, 0
_TABLE_ENTRIES = 512
_TABLES_AT_MOST = 4 * 1024 * 1024
_DESCRIPTOR_AT_MOST = 128
_KINDS = ("monolithicsparse", "streamoptimized")
_EXTENT = re.compile(r'(?:rw|rdonly)[ \t]+(\d{1,15})[ \t]+sparse[ \t]+"[^"/\\]*"', re.ASCII)
_FIELD = re.compile(r'([a-z.0-9_]+)[ \t]*=[ \t]*"?([^"]*)"?')
_FIELDS = {"version", "encoding", "cid", "parentcid", "isnativesnapshot", "createtype"}
_NO_PARENT = "ffffffff"


@dataclass(frozen=True)
class _Header:
    version: int
    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_size: int
    table_entries: int
    directory: int
    compression: int

    @property
    def stated(self) -> tuple[int, ...]:
        """What a footer must repeat: all but where the tables are."""
        return (self.version, self.flags, self.capacity, self.grain, self.descriptor, self.descriptor_size, self.table_entries, self.compression)


def virtual_size(file: BinaryIO, size: int) -> int:
    """Bytes of the disk in a VMDK of ``size`` bytes that is one file. Raises Refused(image_format)."""
    header = _headers(file, size)
    _one_file(file, header)
    return header.capacity * _SECTOR


def complete(file: BinaryIO, size: int) -> None:
    """Nothing its tables name lies behind the end or is named more often than it can be. Raises Refused(image_format)."""
    header = _headers(file, size)
    entries = _TABLE_ENTRIES * header.grain
    tables = -(-header.capacity // entries)
    if tables > _TABLES_AT_MOST:
        raise refused("it has too many tables")
    is_packed = bool(header.flags & _COMPRESSED)
    used = last = 0
    for table in _words(file, header.directory, tables, size):
        if table == 0:
            continue
        grains = _words(file, table, _TABLE_ENTRIES, size)
        empty = grains.count(0) + (grains.count(1) if header.flags & _ZERO_GRAINS else 0)
        used += _TABLE_ENTRIES - empty
        last = max(last, *grains)
    if not used:
        return
    end = _packed_end(file, last, size) if is_packed else (last + header.grain) * _SECTOR
    if end > size:
        raise cut_off()
    if used * (1 if is_packed else header.grain) * _SECTOR > size:
        raise refused("its tables name the same data again and again")


def _headers(file: BinaryIO, size: int) -> _Header:
    """The header, or the footer where the header says that there is one."""
    file.seek(0)
    header = _header(file.read(_SECTOR))
    if header.directory != _AT_END:
        return header
    if size < 4 * _SECTOR:
        raise cut_off()
    file.seek(size - 3 * _SECTOR)
    marker, footer, end = (file.read(_SECTOR) for _ in range(3))
    (_, marker_size, kind), rest = _MARKER.unpack(marker[:16]), marker[16:]
    if (marker_size, kind) != (0, _FOOTER) or any(rest) or any(end):
        raise cut_off("it is cut off: what belongs at its end is not there")
    again = _header(footer)
    if again.stated != header.stated or again.directory == _AT_END:
        raise refused("its header and its footer contradict each other")
    return again


def _header(data: bytes) -> _Header:
    if len(data) < _SECTOR:
        raise cut_off("its header is cut off")
    (magic, version, flags, capacity, grain, descriptor, descriptor_size, entries, _, directory, _, _, newlines, compression) = (
        _HEADER.unpack(data[:_HEADER.size])
    )
    if magic != b"KDMV":
        raise refused("it is a kind of vmdk that consists of several files, or of an old kind; only one that is a single file can be taken")
    if version not in (1, 2, 3) or flags & ~_KNOWN_FLAGS or compression not in (0, 1):
        raise refused("it uses features of vmdk that are not known here")
    if flags & 1 and newlines != _NEWLINES:
        raise cut_off("it is damaged: it was sent as text once")
    if bool(flags & _COMPRESSED) != bool(flags & _MARKERS) or bool(flags & _COMPRESSED) != bool(compression):
        raise refused("its header contradicts itself")
    is_sound = entries == _TABLE_ENTRIES and 8 <= grain <= 2048 and grain & (grain - 1) == 0 and 0 < capacity < 1 << 54
    if not is_sound:
        raise refused("its header is damaged")
    return _Header(version, flags, capacity, grain, descriptor, descriptor_size, entries, directory, compression)


def _one_file(file: BinaryIO, header: _Header) -> None:
    """Its description, which is a text of lines, names exactly one part, which is itself, and nothing it builds on."""
    if header.descriptor != 1 or not 0 < header.descriptor_size <= _DESCRIPTOR_AT_MOST:
        raise refused("its description is not where it belongs")
    file.seek(_SECTOR)
    text = file.read(header.descriptor_size * _SECTOR).partition(b"\0")[0].decode("latin-1").lower()
    fields: dict[str, str] = {}
    extents: list[int] = []
    for line in _lines(text):
        if found := _EXTENT.fullmatch(line):
            extents.append(int(found[1]))
        elif line.startswith(("rw ", "rdonly ", "noaccess ", "rw\t", "rdonly\t", "noaccess\t")):
            raise refused("its data is in another file (an extent), which would not come with it")
        elif line.startswith("parentfilenamehint"):
            raise refused("it is based on another file (parent), which would not come with it")
        elif (found := _FIELD.fullmatch(line)) and found[1] not in fields and (found[1] in _FIELDS or found[1].startswith("ddb.")):
            fields[found[1]] = found[2]
        else:
            raise refused("its description has a line that is not known here")
    if fields.get("createtype") not in _KINDS:
        raise refused(f"it is a kind of vmdk that is not taken ({(fields.get('createtype') or 'none stated')[:40]!r}), only {', '.join(_KINDS)}")
    if fields.get("parentcid", _NO_PARENT) != _NO_PARENT:
        raise refused("it is based on another file (parent), which would not come with it")
    if extents != [header.capacity]:
        raise refused("it does not consist of exactly one part that is as large as the disk")


def _lines(text: str) -> Iterator[str]:
    # Only at the line ends that others see too: splitlines() knows many more.
    for line in text.replace("\r", "\n").split("\n"):
        stripped = line.strip(" \t")
        if stripped and not stripped.startswith("#"):
            yield stripped


def _words(file: BinaryIO, sector: int, count: int, size: int) -> array[int]:
    words = array("I", read(file, sector * _SECTOR, 4 * count, size))
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _packed_end(file: BinaryIO, sector: int, size: int) -> int:
    at = sector * _SECTOR
    return at + 12 + int.from_bytes(read(file, at + 8, 4, size), "little")
