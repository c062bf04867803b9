"""QEMU's disks: a header that asks for nothing we do not want, tables that name nothing behind the end of the file."""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import BinaryIO

from walrus.services.verdict import cut_off, read, refused

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">Q")
_SNAPSHOTS_AT_MOST = 16
_TABLES_AT_MOST = 4 * 1024 * 1024
_CORRUPT = 2
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_ZERO = 1
_SECTOR = 512


@dataclass(frozen=True)
class _Header:
    cluster_bits: int
    disk: int
    tables: int
    tables_at: int

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits


def virtual_size(file: BinaryIO, _size: int) -> int:
    """Bytes of the disk, once the header holds nothing we do not want. Raises Refused(image_format).

    Backing files, data files and features that are not known, among them parts of clusters, are the inspector's to see.
    """
    return _header(file).disk


def complete(file: BinaryIO, size: int) -> None:
    """Everything its tables name is in the file, to the last byte. Raises Refused(image_format).

    qemu-img's own check sees only whole clusters that are missing, and reads zeros for the rest of one that is cut.
    """
    header = _header(file)
    entries = header.cluster // 8
    if header.tables > _TABLES_AT_MOST or header.tables * entries * header.cluster < header.disk:
        raise refused("its header is damaged")
    seen: set[int] = set()
    for number, entry in enumerate(_words(file, header.tables_at, header.tables, size)):
        at = entry & _OFFSET
        if at in seen:
            raise refused("its tables name the same data again and again")
        if at:
            seen.add(at)
            if _end(_words(file, at, entries, size), header, number * entries) > size:
                raise cut_off()


def _header(file: BinaryIO) -> _Header:
    file.seek(0)
    data = file.read(104)
    if len(data) < _HEADER.size:
        raise cut_off("its header is cut off")
    (_, version, _, _, cluster_bits, disk, encryption, tables, tables_at, _, _, snapshots, _) = _HEADER.unpack(data[:_HEADER.size])
    features = _FEATURES.unpack(data[72:80])[0] if len(data) >= 80 and version >= 3 else 0
    if features & _CORRUPT:
        raise refused("it is marked as corrupt; repair it first (qemu-img check -r)")
    if encryption:
        raise refused("it is encrypted")
    if snapshots > _SNAPSHOTS_AT_MOST:
        raise refused(f"it has {snapshots} internal snapshots, and at most {_SNAPSHOTS_AT_MOST} are allowed")
    if not 9 <= cluster_bits <= 21:
        raise refused("its header is damaged")
    return _Header(cluster_bits, disk, tables, tables_at)


def _end(words: array[int], header: _Header, first: int) -> int:
    """The end of what a table of clusters names; of the disk's last cluster only what is within the disk counts."""
    cluster, shift = header.cluster, 70 - header.cluster_bits
    last, tail = (header.disk - 1) // cluster - first, (header.disk - 1) % cluster + 1
    end = 0
    for number, word in enumerate(words):
        if word & _COMPRESSED:
            # The last sector it touches need not be there as a whole.
            at, sectors = word & ((1 << shift) - 1), word >> shift & ((1 << 62 - shift) - 1)
            end = max(end, at // _SECTOR * _SECTOR + sectors * _SECTOR + 1)
        elif word & _OFFSET and not word & _ZERO:
            end = max(end, (word & _OFFSET) + (tail if number == last else cluster))
    return end


def _words(file: BinaryIO, at: int, count: int, size: int) -> array[int]:
    words = array("Q", read(file, at, 8 * count, size))
    if sys.byteorder == "little":
        words.byteswap()
    return words
