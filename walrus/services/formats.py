"""Which format a disk file has, and that it is one of those, only one, and stands alone: nothing of it is in another file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from oslo_utils.imageutils import format_inspector

from luhyaapi.contracts.vocabulary import DiskFormat
from walrus.services import block_maps, partitions, qcow2, vmdk
from walrus.services.verdict import cut_off, refused

_MIB = 1024 * 1024
_LOOK_AT_MOST = 8 * _MIB
RAW, QCOW2 = DiskFormat.RAW.value, DiskFormat.QCOW2.value
CONVERTIBLE = frozenset((RAW, QCOW2, "vmdk", "vdi", "vhdx", "vhd"))

_REASONS = {
    "backing_file": "it is based on another file (backing file), which would not come with it",
    "data_file": "its data is in another file (external data file), which would not come with it",
    "unknown_features": "it uses features of qcow2 that are not known here",
}
# what the inspector does not know, or drops when something else about it is wrong, and a hypervisor might still recognise
_ALSO_KNOWN = {
    b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"vhdxfile": "vhdx", b"conectix": "vhd", b"QED\0": "qed",
    b"COWD": "vmdk", b"# Disk DescriptorFile": "vmdk", b"WithoutFreeSpace": "parallels", b"WithouFreSpacExt": "parallels",
    b"Bochs Virtual HD Image": "bochs", b"#!/bin/sh\n#V2.0 Format": "cloop", b"OOOM": "cow",
    b"\x1f\x8b": "a gzip file", b"\xfd7zXZ\0": "an xz file", b"\x28\xb5\x2f\xfd": "a zstd file", b"BZh": "a bzip2 file",
    b"PK\3\4": "a zip file", b"7z\xbc\xaf\x27\x1c": "a 7z file",
}
_VHD_FOOTER = b"conectix"
_BOOT_SECTOR_END = b"\x55\xaa"
_VDI_AT, _VDI_MAGIC = 64, b"\x7f\x10\xda\xbe"


@dataclass(frozen=True)
class Disk:
    """What a disk file is: one of CONVERTIBLE, and the size of the disk in it in bytes."""

    format: str
    virtual_size: int


def look(path: Path, declared: DiskFormat | None, *, largest_mib: int, accepted: Collection[str] = CONVERTIBLE) -> Disk:
    """What the file at ``path`` is, when it is what was declared (None: one of ``accepted``) and stands alone.

    Raises Refused(image_format) with the reason as one sentence; ``largest_mib`` bounds the virtual size.
    """
    size = path.stat().st_size
    if size == 0:
        raise cut_off("it is empty")
    format = _as_declared(path, declared) if declared else _detected(path, accepted)
    with path.open("rb") as file:
        virtual = _SIZES[format](file, size)
    if virtual == 0:
        raise refused("the disk in it has no size")
    if virtual > largest_mib * _MIB:
        raise refused(f"the disk in it has {virtual // _MIB} MiB, and at most {largest_mib} MiB are allowed")
    if format in _COMPLETE:
        with path.open("rb") as file:
            _COMPLETE[format](file, size)
    return Disk(format, virtual)


def is_disk(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (512 bytes) says that it is a disk; a raw one says nothing."""
    return bool(_magic(head) & CONVERTIBLE)


def _as_declared(path: Path, declared: DiskFormat) -> str:
    found = _inspectors(path)
    names = {_name(each) for each in found}
    others = names - {declared.value}
    if declared is DiskFormat.RAW:
        others -= {"gpt", RAW}
    elif declared.value not in names:
        raise refused(f"it was declared {declared.value}, and it is {_listed(others)}")
    others |= _other_magic(path) - {declared.value}
    if others:
        raise refused(f"it was declared {declared.value}, and it looks like {_listed(others)}")
    _safe(found)
    return declared.value


def _detected(path: Path, accepted: Collection[str]) -> str:
    found = _inspectors(path)
    names = {_name(each) for each in found} | _other_magic(path)
    said = names - {"gpt", RAW}
    if len(said) > 1:
        raise refused(f"it looks like {_listed(said)} at once")
    format = next(iter(said), RAW)
    if format not in accepted:
        raise refused(f"it is {_listed(said)}, and a disk is one of {', '.join(sorted(accepted))}")
    if format == RAW and not _has_boot_sector(path):
        raise refused("it is no kind of disk that is known here; a raw disk without a partition table must be declared raw")
    if format == QCOW2 and QCOW2 not in {_name(each) for each in found}:
        raise refused("its header is damaged")
    _safe(found)
    return format


def _name(inspector: format_inspector.FileInspector) -> str:
    return str(inspector)


def _inspectors(path: Path) -> list[format_inspector.FileInspector]:
    with path.open("rb") as file:
        wrapper = format_inspector.InspectWrapper(file)
        left = _LOOK_AT_MOST
        try:
            while left > 0 and wrapper.formats is None and (data := wrapper.read(65536)):
                left -= len(data)
        except Exception as e:
            raise refused(f"its header cannot be read ({e})") from e
        finally:
            wrapper.close()
    return list(wrapper.formats or [])


def _safe(inspectors: list[format_inspector.FileInspector]) -> None:
    """Only qcow2: of the others our own look asks more."""
    for inspector in inspectors:
        if _name(inspector) != QCOW2:
            continue
        try:
            inspector.safety_check()
        except format_inspector.SafetyCheckFailed as e:
            why = "; ".join(_REASONS.get(name, f"{name}: {failure}") for name, failure in sorted(e.failures.items()))
            raise refused(why) from e
        except format_inspector.ImageFormatError as e:
            raise refused(f"its header is damaged ({e})") from e


def _other_magic(path: Path) -> set[str]:
    with path.open("rb") as file:
        head = file.read(512)
        file.seek(max(path.stat().st_size - 512, 0))
        tail = file.read(512)
    return _magic(head) | ({"vhd"} if tail.startswith(_VHD_FOOTER) else set())


def _magic(head: bytes) -> set[str]:
    found = {name for magic, name in _ALSO_KNOWN.items() if head.startswith(magic)}
    return found | ({"vdi"} if head[_VDI_AT:_VDI_AT + 4] == _VDI_MAGIC else set())


def _has_boot_sector(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512)[510:] == _BOOT_SECTOR_END


def _listed(names: set[str]) -> str:
    return " and ".join(sorted({"gpt": "a plain partitioned disk", "raw": "raw"}.get(n, n) for n in names)) or "something else"


def _raw_size(_file: BinaryIO, size: int) -> int:
    return size


_SIZES: dict[str, Callable[[BinaryIO, int], int]] = {
    RAW: _raw_size, QCOW2: qcow2.virtual_size, "vmdk": vmdk.virtual_size, "vdi": block_maps.vdi_size,
    "vhdx": block_maps.vhdx_size, "vhd": block_maps.vhd_size,
}
_COMPLETE: dict[str, Callable[[BinaryIO, int], None]] = {
    RAW: partitions.complete, QCOW2: qcow2.complete, "vmdk": vmdk.complete, "vdi": block_maps.vdi_complete, "vhdx": block_maps.vhdx_complete,
    "vhd": block_maps.vhd_complete,
}
"""What looks for the end of the data, after the size was found to be allowed: tables grow with it."""
