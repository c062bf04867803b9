"""Partition tables of raw disks: such a disk has no header, and its table alone tells that its end is missing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

from walrus.services.verdict import cut_off

_MIB = 1024 * 1024
_SECTOR = 512
_GPT_SECTORS = (512, 1024, 2048, 4096)
_MBR_ENTRY = struct.Struct("<B3xB3xII")
_MBR_AT, _MBR_ENTRIES = 446, 4
_SIGNATURE_AT, _SIGNATURE = 510, b"\x55\xaa"
_ACTIVE = (0x00, 0x80)
_NONE, _PROTECTIVE = 0x00, 0xEE
_FILE_SYSTEMS = {3: (b"NTFS    ", b"EXFAT   ", b"EXTLINUX", b"SYSLINUX", b"-FVE-FS-", b"ReFS"), 54: (b"FAT",), 82: (b"FAT",)}
"""What a file system without a partition table says of itself in its first sector, where its code ends like a boot record."""
_GPT = struct.Struct("<8sIIIIQQQQ16sQIII")
_GPT_MAGIC = b"EFI PART"
_GPT_ENTRY = struct.Struct("<16s16sQQ")
_GPT_ENTRIES_AT_MOST = 64 * 1024
_SECTORS_AT_MOST = 1 << 48


def complete(file: BinaryIO, size: int) -> None:
    """All that its partition table names is within the ``size`` bytes of a raw disk; one without a table is. Raises Refused(image_format).

    A table that contradicts itself tells nothing, and is a guest's business.
    """
    end = max(_ends(file), default=0)
    # A last sector need not be there as a whole: it is read as if it were.
    if end > -(-size // _SECTOR) * _SECTOR:
        shown = [f"{n // _MIB} MiB" if end - size >= _MIB else f"{n} bytes" for n in (end, size)]
        raise cut_off(f"it is cut off: its partition table ends at {shown[0]}, the file has {shown[1]}")


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


def _ends(file: BinaryIO) -> list[int]:
    """Where all that is in the partition table ends, in bytes.

    A GPT counts where the boot record has the entry that protects it, which itself says 2 TiB of a disk of any size. Without
    it a GPT is what was left of an earlier table.
    """
    sector = _read(file, 0, _SECTOR)
    if sector[_SIGNATURE_AT:] != _SIGNATURE or any(sector.startswith(names, at) for at, names in _FILE_SYSTEMS.items()):
        return []
    rows = [_MBR_ENTRY.unpack_from(sector, _MBR_AT + n * _MBR_ENTRY.size) for n in range(_MBR_ENTRIES)]
    if any(active not in _ACTIVE for active, *_ in rows):
        return []  # code, not a table
    if any(kind == _PROTECTIVE for _, kind, *_ in rows) and (found := list(_gpt(file))):
        return found
    parts = sorted((first, first + count) for _, kind, first, count in rows if kind not in (_NONE, _PROTECTIVE) and count)
    if any(later < end for (_, end), (later, _) in pairwise(parts)):
        return []
    # In units of 512 bytes, as a guest here reads it; those of a disk with larger sectors only seem to end earlier.
    return [end * _SECTOR for _, end in parts]


def _gpt(file: BinaryIO) -> Iterator[int]:
    """Where a GPT's second header and each of its partitions end, in bytes; nothing unless its checksum says that it is one."""
    for unit in _GPT_SECTORS:
        sector = _read(file, unit, unit)
        if len(sector) < _GPT.size or not sector.startswith(_GPT_MAGIC):
            continue
        (_, _, length, summed, _, here, other, _, last, _, entries_at, count, entry, entries_summed) = _GPT.unpack_from(sector)
        head = sector[:16] + bytes(4) + sector[20:length]
        if not _GPT.size <= length <= unit or zlib.crc32(head) != summed or here != 1:
            continue
        yield (max(other, last) + 1) * unit
        if _GPT_ENTRY.size <= entry <= unit and count * entry <= _GPT_ENTRIES_AT_MOST and entries_at < _SECTORS_AT_MOST:
            table = _read(file, entries_at * unit, count * entry)
            for at in range(0, len(table) - entry + 1, entry) if zlib.crc32(table) == entries_summed else ():
                kind, _, first, end = _GPT_ENTRY.unpack_from(table, at)
                if any(kind) and first <= end:
                    yield (end + 1) * unit
        return
