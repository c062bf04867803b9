"""Looking into uploaded kernels and initial ram disks before anything else touches them."""

from __future__ import annotations

from pathlib import Path

from luhyaapi.contracts.vocabulary import DiskFormat, Part
from walrus.services.verdict import refused

_MIB = 1024 * 1024
LARGEST_MIB = 4 * 1024 * 1024
BOOT_FILE_AT_MOST_MIB = 512
_INITRD_MAGIC = {
    b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"070701": "cpio", b"070702": "cpio",
    b"\x02\x21\x4c\x18": "lz4", b"BZh": "bzip2", b"\x5d\0\0": "lzma",
}


def inspect_boot_file(path: Path, part: Part, declared: DiskFormat | None) -> None:
    """Whether the file at ``path`` is a kernel, or an initial ram disk. Raises Refused(image_format) with the reason as one sentence."""
    size = path.stat().st_size
    if declared not in (None, DiskFormat.RAW):
        raise refused(f"a {part.value} is declared raw, not {declared}", part)
    if size > BOOT_FILE_AT_MOST_MIB * _MIB:
        raise refused(f"it has {size // _MIB} MiB, and at most {BOOT_FILE_AT_MOST_MIB} MiB are allowed", part)
    with path.open("rb") as file:
        head = file.read(0x210)
    if part is Part.KERNEL:
        if head[0x202:0x206] != b"HdrS" and head[:4] != b"\x7fELF":
            raise refused("it is neither a Linux kernel (bzImage) nor an ELF file", part)
    elif not any(head.startswith(magic) for magic in _INITRD_MAGIC):
        raise refused("it is not an initial ram disk (cpio, or cpio packed with gzip, xz or zstd)", part)
