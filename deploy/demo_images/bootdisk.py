"""A disk that a BIOS boots, written without mounting: partition table, GRUB in the gap behind it, ext4 from a folder."""

from __future__ import annotations

import struct
from pathlib import Path

from deploy.demo_images.packages import Cancelled
from luhyaapi import process
from luhyaapi.errors import Failed

PACKAGES = ("grub-common", "grub-pc-bin", "libdevmapper1.02.1")
LABEL = "educloud-root"
DISK_BYTES = 4 << 30
_SECTOR = 512
_START = 2048
_CODE_BYTES = 440
_CONFIG = f"search --no-floppy --label {LABEL} --set=root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
_MODULES = ("biosdisk", "part_msdos", "ext2", "search", "search_label", "linux", "normal", "configfile", "boot", "test")
# What GRUB 2.06 cannot read; and a sparse file is all zeros, so the guest need not clear inode tables later.
_EXT4 = ("-O", "^metadata_csum_seed,^orphan_file", "-E", f"offset={_START * _SECTOR},assume_storage_prezeroed=1")


def write(disk: Path, root: Path, grub: Path, scratch: Path, cancelled: Cancelled | None = None) -> None:
    """A raw, sparse disk of DISK_BYTES with one partition that holds ``root``; ``grub`` is its unpacked packages.

    Raises Failed(program) with what a tool said (such as no space in the partition), Refused(cancelled).
    """
    core = _core(grub, scratch)
    boot = (grub / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    with disk.open("wb") as f:
        f.truncate(DISK_BYTES)
    size = f"{(DISK_BYTES - _START * _SECTOR) // 1024}k"
    look = ["-t", "ext4", "-b", "4096", "-m", "1", "-L", LABEL, *_EXT4]
    argv: list[str | Path] = ["mke2fs", "-q", "-F", *look, "-d", root, disk, size]
    process.run(argv, timeout_s=600, cancelled=cancelled)
    with disk.open("r+b") as f:
        f.write(master_boot_record(boot, DISK_BYTES // _SECTOR))
        f.write(core)


def master_boot_record(boot: bytes, sectors: int) -> bytes:
    """The first sector: GRUB's code, and one active Linux partition from sector 2048 to the end."""
    anywhere = b"\xfe\xff\xff"
    partition = struct.pack("<B3sB3sII", 0x80, anywhere, 0x83, anywhere, _START, sectors - _START)
    head = boot[:_CODE_BYTES] + b"eduC" + bytes(2)
    return head + partition + bytes(3 * 16) + b"\x55\xaa"


def convert(raw: Path, to: Path, cancelled: Cancelled | None = None) -> None:
    """A compressed qcow2 of a raw disk. Raises Failed(program), Refused(cancelled)."""
    how = ["-c", "-o", "compat=1.1,compression_type=zstd", "-W"]
    process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *how, raw, to], timeout_s=900, cancelled=cancelled)


def _core(grub: Path, scratch: Path) -> bytes:
    """GRUB with all it needs to read the partition and start the kernel; it lies right behind the first sector."""
    config = scratch / "early.cfg"
    config.write_text(_CONFIG)
    image = scratch / "core.img"
    modules = grub / "usr/lib/grub/i386-pc"
    argv: list[str | Path] = [grub / "usr/bin/grub-mkimage", "-O", "i386-pc", "-d", modules, "-p", "/boot/grub"]
    libraries = {"LD_LIBRARY_PATH": str(grub / "lib/x86_64-linux-gnu")}
    process.run([*argv, "-c", config, "-o", image, *_MODULES], timeout_s=60, env=libraries)
    core = image.read_bytes()
    if len(core) > (_START - 1) * _SECTOR:
        raise Failed("program", "GRUB does not fit in front of the partition", f"{len(core)} bytes")
    return core
