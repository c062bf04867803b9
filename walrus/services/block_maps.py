"""Disks whose blocks are found by one table: VirtualBox's vdi, Hyper-V's vhdx, Virtual PC's vhd."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from walrus.services.verdict import cut_off, read, refused

_SECTOR = 512
_MIB = 1024 * 1024
_BLOCKS_AT_MOST = 16 * 1024 * 1024

# -- vdi: after 64 bytes of text
_VDI = struct.Struct("<IHHIII256sIIIIIIIQIIII16s16s16s16s")
_VDI_SIGNATURE = 0xBEDA107F
_VDI_GROWING, _VDI_FIXED = 1, 2
_VDI_NONE = 0xFFFFFFFE


@dataclass(frozen=True)
class _Vdi:
    map_at: int
    data_at: int
    disk: int
    block: int
    blocks: int
    allocated: int


def vdi_size(file: BinaryIO, _size: int) -> int:
    """Bytes of the disk in a VDI that builds on no other. Raises Refused(image_format)."""
    return _vdi(file).disk


def vdi_complete(file: BinaryIO, size: int) -> None:
    """All blocks the table names are in the file, each once. Raises Refused(image_format)."""
    found = _vdi(file)
    named = [n for n in _entries(file, found.map_at, found.blocks, "<I", size) if n < _VDI_NONE]
    if len(set(named)) != len(named):
        raise refused("its table names the same data again and again")
    if found.data_at + max([found.allocated - 1, *named], default=-1) * found.block + found.block > size:
        raise cut_off()


def _vdi(file: BinaryIO) -> _Vdi:
    file.seek(64)
    data = file.read(_VDI.size)
    if len(data) < _VDI.size:
        raise cut_off("its header is cut off")
    (signature, minor, major, _, kind, _, _, map_at, data_at, *_, sector, _, disk, block, extra, blocks, allocated,
     _, _, link, parent) = _VDI.unpack(data)
    if signature != _VDI_SIGNATURE or (major, minor) != (1, 1):
        raise refused("it uses features of vdi that are not known here")
    if kind not in (_VDI_GROWING, _VDI_FIXED) or any(link) or any(parent):
        raise refused("it is based on another file (parent), which would not come with it")
    is_sound = (
        sector == _SECTOR and block == _MIB and extra == 0 and allocated <= blocks <= _BLOCKS_AT_MOST
        and disk <= blocks * block and map_at % _SECTOR == 0 and data_at % _SECTOR == 0 and map_at >= _SECTOR and data_at >= _SECTOR
    )
    if not is_sound:
        raise refused("its header is damaged")
    return _Vdi(map_at, data_at, disk, block, blocks, allocated)


# -- vhd: a footer of 512 bytes; before growing ones its copy and a second header
_VHD = struct.Struct(">8sIIQI4sI4sQQIII16sB")
_VHD_GROWING = struct.Struct(">8sQQIIII16s")
_VHD_FIXED_KIND, _VHD_GROWING_KIND, _VHD_DIFFERENCE_KIND = 2, 3, 4
_VHD_UNUSED = 0xFFFFFFFF
_VHD_LOCATORS = slice(576, 768)


def vhd_size(file: BinaryIO, size: int) -> int:
    """Bytes of the disk in a VHD that builds on no other, as its footer says. Raises Refused(image_format)."""
    return _vhd(file, size)[1]


def vhd_complete(file: BinaryIO, size: int) -> None:
    """All blocks the table names are in the file, each once. Raises Refused(image_format)."""
    kind, disk, at = _vhd(file, size)
    if kind == _VHD_FIXED_KIND:
        return
    header = read(file, at, 1024, size)
    if not _sums_up(header, 36):
        raise refused("its header is damaged")
    cookie, _, table_at, _, entries, block, _, parent = _VHD_GROWING.unpack(header[:_VHD_GROWING.size])
    if cookie != b"cxsparse" or any(parent) or any(header[_VHD_LOCATORS]):
        raise refused("it is based on another file (parent), which would not come with it")
    if not 1 <= entries <= _BLOCKS_AT_MOST or block not in (_MIB // 2, _MIB, 2 * _MIB) or disk > entries * block:
        raise refused("its header is damaged")
    named = [n for n in _entries(file, table_at, entries, ">I", size) if n != _VHD_UNUSED]
    length = block + -(-block // _SECTOR // 8 // _SECTOR) * _SECTOR
    if named and max(named) * _SECTOR + length > size:
        raise cut_off()
    if len(set(named)) != len(named):
        raise refused("its table names the same data again and again")


def _vhd(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Kind, bytes of the disk, where the second header is."""
    file.seek(max(size - _SECTOR, 0))
    footer = file.read(_SECTOR)
    if not footer.startswith(b"conectix"):
        raise cut_off("it is cut off: what belongs at its end is not there")
    if len(footer) < _SECTOR or not _sums_up(footer, 64):
        raise refused("its footer is damaged")
    _, _, version, at, _, _, _, _, _, disk, _, kind, _, _, _ = _VHD.unpack(footer[:_VHD.size])
    if version >> 16 != 1:
        raise refused("it uses features of vhd that are not known here")
    if kind == _VHD_DIFFERENCE_KIND:
        raise refused("it is based on another file (parent), which would not come with it")
    file.seek(0)
    if kind == _VHD_GROWING_KIND and file.read(_SECTOR) == footer:
        return kind, disk, at
    if kind == _VHD_FIXED_KIND and disk + _SECTOR == size:
        return kind, disk, at
    raise refused("its header and its footer contradict each other")


def _sums_up(data: bytes, at: int) -> bool:
    said = int.from_bytes(data[at:at + 4], "big")
    return (~(sum(data) - sum(data[at:at + 4]))) & 0xFFFFFFFF == said


# -- vhdx: regions named by numbers, the second copy of each header counts when it is newer
_VHDX_REGIONS_AT = 192 * 1024
_VHDX_REGION = struct.Struct("<16sQII")
_VHDX_MAP = bytes.fromhex("6677c22d23f600429d64115e9bfd4a08")
_VHDX_METADATA = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
_VHDX_ITEM = struct.Struct("<16sIIII")
_VHDX_PARAMETERS = bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b")
_VHDX_DISK = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")
_VHDX_PAGE83 = bytes.fromhex("ab12cabee6b2234593efc309e000c746")
_VHDX_LOGICAL = bytes.fromhex("1dbf41816fa90947ba47f233a8faab5f")
_VHDX_PHYSICAL = bytes.fromhex("c748a3cd5d4471449cc9e9885251c556")
_VHDX_ITEMS = {_VHDX_PARAMETERS, _VHDX_DISK, _VHDX_PAGE83, _VHDX_LOGICAL, _VHDX_PHYSICAL}
_VHDX_HAS_PARENT = 2
_VHDX_PRESENT, _VHDX_PARTLY = 6, 7


@dataclass(frozen=True)
class _Vhdx:
    map_at: int
    map_size: int
    disk: int
    block: int
    logical: int


def vhdx_size(file: BinaryIO, size: int) -> int:
    """Bytes of the disk in a VHDX that builds on no other. Raises Refused(image_format)."""
    return _vhdx(file, size).disk


def vhdx_complete(file: BinaryIO, size: int) -> None:
    """All blocks the table names are in the file, each once. Raises Refused(image_format)."""
    found = _vhdx(file, size)
    blocks = -(-found.disk // found.block)
    ratio = (1 << 23) * found.logical // found.block
    entries = blocks + (blocks - 1) // ratio
    if blocks > _BLOCKS_AT_MOST or entries * 8 > found.map_size:
        raise refused("its header is damaged")
    table = _entries(file, found.map_at, entries, "<Q", size)
    named = [n >> 20 for at, n in enumerate(table) if (at + 1) % (ratio + 1) and n & 7 in (_VHDX_PRESENT, _VHDX_PARTLY)]
    if named and max(named) * _MIB + found.block > size:
        raise cut_off()
    if len(set(named)) != len(named):
        raise refused("its table names the same data again and again")


def _vhdx(file: BinaryIO, size: int) -> _Vhdx:
    regions = _table(read(file, _VHDX_REGIONS_AT, 65536, size), b"regi", 8, 16, _VHDX_REGION, {_VHDX_MAP, _VHDX_METADATA})
    if set(regions) != {_VHDX_MAP, _VHDX_METADATA}:
        raise refused("its header is damaged")
    (map_at, map_size, _), (metadata_at, metadata_size, _) = regions[_VHDX_MAP], regions[_VHDX_METADATA]
    metadata = read(file, metadata_at, min(metadata_size, _MIB), size)
    items = _table(metadata, b"metadata", 10, 32, _VHDX_ITEM, _VHDX_ITEMS)
    if set(items) != _VHDX_ITEMS:
        raise refused("its header is damaged")
    values = {name: metadata[at:at + length] for name, (at, length, *_) in items.items()}
    sizes = {_VHDX_PARAMETERS: 8, _VHDX_DISK: 8, _VHDX_LOGICAL: 4}
    if any(len(values[name]) != length for name, length in sizes.items()):
        raise refused("its header is damaged")
    block, flags = struct.unpack("<II", values[_VHDX_PARAMETERS])
    disk, logical = int.from_bytes(values[_VHDX_DISK], "little"), int.from_bytes(values[_VHDX_LOGICAL], "little")
    if flags & _VHDX_HAS_PARENT:
        raise refused("it is based on another file (parent), which would not come with it")
    if flags & ~3 or logical not in (512, 4096) or not _MIB <= block <= 256 * _MIB or block & (block - 1):
        raise refused("its header is damaged")
    return _Vhdx(map_at, map_size, disk, block, logical)


def _table(
    data: bytes, magic: bytes, count_at: int, first_at: int, row: struct.Struct, known: set[bytes]
) -> dict[bytes, tuple[int, ...]]:
    """Rows by their number (uuid); one that is not known, twice there or behind the end is refused."""
    if not data.startswith(magic) or len(data) < first_at:
        raise refused("its header is damaged")
    (count,) = struct.unpack_from("<H", data, count_at)
    if count > len(known) or first_at + count * row.size > len(data):
        raise refused("it uses features of vhdx that are not known here")
    rows: dict[bytes, tuple[int, ...]] = {}
    for number in range(count):
        name, *rest = row.unpack_from(data, first_at + number * row.size)
        if name not in known or name in rows:
            raise refused("it uses features of vhdx that are not known here")
        rows[name] = tuple(rest)
    return rows


def _entries(file: BinaryIO, at: int, count: int, word: str, size: int) -> list[int]:
    """``count`` numbers of a table; no more than the file can hold."""
    row = struct.Struct(word)
    return [n for (n,) in row.iter_unpack(read(file, at, count * row.size, size))]
