"""Looking into uploaded files before anything else touches them: the stated format, no strings attached, not damaged."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from oslo_utils.imageutils import format_inspector

from luhyaapi import process
from luhyaapi.contracts.vocabulary import DiskFormat, Part
from luhyaapi.errors import Failed, Refused

_MIB = 1024 * 1024
LARGEST_MIB = 4 * 1024 * 1024
BOOT_FILE_AT_MOST_MIB = 512
_LOOK_AT_MOST = 8 * _MIB
_CPU_S = 30
_MEMORY = 2 * 1024 * _MIB
_PATIENCE_S = 600.0
_SNAPSHOTS_AT_MOST = 16

_REASONS = {
    "backing_file": "it is based on another file (backing file), which would not come with it",
    "data_file": "its data is in another file (external data file), which would not come with it",
    "unknown_features": "it uses features of qcow2 that are not known here",
}
# formats the inspector does not know and a hypervisor might still recognise
_ALSO_KNOWN = {
    b"COWD": "vmdk", b"# Disk DescriptorFile": "vmdk", b"WithoutFreeSpace": "parallels", b"WithouFreSpacExt": "parallels",
    b"Bochs Virtual HD Image": "bochs", b"#!/bin/sh\n#V2.0 Format": "cloop", b"OOOM": "cow",
    b"\x1f\x8b\x08": "a gzip file", b"\xfd7zXZ\0": "an xz file", b"\x28\xb5\x2f\xfd": "a zstd file", b"BZh": "a bzip2 file",
    b"PK\3\4": "a zip file", b"7z\xbc\xaf\x27\x1c": "a 7z file",
}
_CORRUPT_BIT = 2
_VHD_FOOTER = b"conectix"
_INITRD_MAGIC = {
    b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"070701": "cpio", b"070702": "cpio",
    b"\x02\x21\x4c\x18": "lz4", b"BZh": "bzip2", b"\x5d\0\0": "lzma",
}


@dataclass(frozen=True)
class Inspected:
    """What a file is. ``virtual_size`` in bytes, 0 for kernels and initrds."""

    format: DiskFormat
    virtual_size: int


def inspect(path: Path, part: Part, declared: DiskFormat, *, largest_mib: int = LARGEST_MIB) -> Inspected:
    """What the file at ``path`` is, when it is what was declared and safe to use.

    Raises Refused(image_format) with the reason as one sentence; ``largest_mib`` bounds the virtual size.
    """
    if part is not Part.DISK:
        _boot_file(path, part, declared)
        return Inspected(DiskFormat.RAW, 0)
    size = path.stat().st_size
    if size == 0:
        raise _refused(part, "it is empty")
    _as_declared(path, declared)
    virtual = _qcow2_size(path) if declared is DiskFormat.QCOW2 else size
    if virtual == 0:
        raise _refused(part, "the disk in it has no size")
    if virtual > largest_mib * _MIB:
        raise _refused(part, f"the disk in it has {virtual // _MIB} MiB, and at most {largest_mib} MiB are allowed")
    if declared is DiskFormat.QCOW2:
        _undamaged(path)
    return Inspected(declared, virtual)


def _refused(part: Part, why: str) -> Refused:
    return Refused("image_format", f"The {part.value} file cannot be accepted", why)


def _as_declared(path: Path, declared: DiskFormat) -> None:
    found = _formats(path)
    others = {str(each) for each in found if str(each) != declared.value}
    if declared is DiskFormat.RAW:
        others -= {"gpt", "raw"}
    if DiskFormat.QCOW2.value == declared.value and not any(str(each) == "qcow2" for each in found):
        raise _refused(Part.DISK, f"it was declared qcow2, and it is {_listed(others)}")
    others |= _other_magic(path)
    if others:
        raise _refused(Part.DISK, f"it was declared {declared.value}, and it looks like {_listed(others)}")
    for each in found:
        if declared is DiskFormat.QCOW2:
            _safe(each)


def _formats(path: Path) -> list[format_inspector.FileInspector]:
    with path.open("rb") as file:
        wrapper = format_inspector.InspectWrapper(file)
        left = _LOOK_AT_MOST
        try:
            while left > 0 and wrapper.formats is None and (data := wrapper.read(4096)):
                left -= len(data)
        except Exception as e:
            raise _refused(Part.DISK, f"its header cannot be read ({e})") from e
        finally:
            wrapper.close()
    return list(wrapper.formats or [])


def _safe(inspector: format_inspector.FileInspector) -> None:
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as e:
        why = "; ".join(_REASONS.get(name, f"{name}: {failure}") for name, failure in sorted(e.failures.items()))
        raise _refused(Part.DISK, why) from e
    except format_inspector.ImageFormatError as e:
        raise _refused(Part.DISK, f"its header is damaged ({e})") from e


def _other_magic(path: Path) -> set[str]:
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(max(path.stat().st_size - 512, 0))
        tail = file.read(512)
    found = {name for magic, name in _ALSO_KNOWN.items() if head.startswith(magic)}
    return found | ({"vhd"} if tail.startswith(_VHD_FOOTER) else set())


def _listed(names: set[str]) -> str:
    return " and ".join(sorted({"gpt": "a plain partitioned disk", "raw": "raw"}.get(n, n) for n in names)) or "something else"


def _qcow2_size(path: Path) -> int:
    """The virtual size, once the header holds nothing we do not want."""
    with path.open("rb") as file:
        header = file.read(104)
    if len(header) < 72:
        raise _refused(Part.DISK, "its header is cut off")
    size, encryption = struct.unpack(">QI", header[24:36])
    (snapshots,) = struct.unpack(">I", header[60:64])
    (features,) = struct.unpack(">Q", header[72:80]) if len(header) >= 80 and header[7] >= 3 else (0,)
    if features & _CORRUPT_BIT:
        raise _refused(Part.DISK, "it is marked as corrupt; repair it first (qemu-img check -r)")
    if encryption:
        raise _refused(Part.DISK, "it is encrypted")
    if snapshots > _SNAPSHOTS_AT_MOST:
        raise _refused(Part.DISK, f"it has {snapshots} internal snapshots, and at most {_SNAPSHOTS_AT_MOST} are allowed")
    return int(size)


def _undamaged(path: Path) -> None:
    """Have qemu-img check it, with little time and memory; its exit code 3 (leaked clusters) is harmless."""
    try:
        done = process.run(
            ["prlimit", f"--cpu={_CPU_S}", f"--as={_MEMORY}", "--core=0", "--",
             "qemu-img", "check", "-f", "qcow2", "--output=json", path.absolute()],
            timeout_s=_PATIENCE_S, check=False,
        )
    except Failed as e:
        if e.code == "missing":
            raise
        raise _refused(Part.DISK, "checking it took too long") from e
    if done.code not in (0, 3):
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.code}"]
        found = _said(done).get("corruptions")
        why = f"{found} corruptions" if found else said[-1].rsplit(": ", 1)[-1][:200]
        raise _refused(Part.DISK, f"it is damaged or cut off ({why})")


def _said(done: process.Finished) -> dict[str, int]:
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)} if isinstance(found, dict) else {}


def _boot_file(path: Path, part: Part, declared: DiskFormat) -> None:
    size = path.stat().st_size
    if declared is not DiskFormat.RAW:
        raise _refused(part, f"a {part.value} is declared raw, not {declared.value}")
    if size > BOOT_FILE_AT_MOST_MIB * _MIB:
        raise _refused(part, f"it has {size // _MIB} MiB, and at most {BOOT_FILE_AT_MOST_MIB} MiB are allowed")
    with path.open("rb") as file:
        head = file.read(0x210)
    if part is Part.KERNEL:
        if head[0x202:0x206] != b"HdrS" and head[:4] != b"\x7fELF":
            raise _refused(part, "it is neither a Linux kernel (bzImage) nor an ELF file")
    elif not any(head.startswith(magic) for magic in _INITRD_MAGIC):
        raise _refused(part, "it is not an initial ram disk (cpio, or cpio packed with gzip, xz or zstd)")
