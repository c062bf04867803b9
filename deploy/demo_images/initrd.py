"""The early file systems of tiny and probe: busybox, a few drivers, and the scripts below guest/."""

from __future__ import annotations

from pathlib import Path

from deploy.demo_images import cpio, modules
from luhyaapi import process

GUEST = Path(__file__).parent / "guest"
_DRIVERS = ["virtio_pci", "virtio_net", "virtio_blk", "virtio_console", "qemu_fw_cfg", "evdev", "button"]
_DEVICES = [cpio.device("dev/console", 5, 1), cpio.device("dev/null", 1, 3), cpio.device("dev/ttyS0", 4, 64)]


def tiny(kernel: Path, busybox: Path) -> bytes:
    """The initrd of tiny, from the unpacked packages of kernel and busybox. Raises Failed(missing)."""
    program = busybox / "bin/busybox"
    names = process.run([program, "--list"], timeout_s=20).text.split()
    drivers = modules.in_order(kernel / "lib/modules", _DRIVERS)
    order = "".join(f"{f.name}\n" for f in drivers).encode()
    return cpio.archive([
        *_DEVICES,
        cpio.plain("bin/busybox", program.read_bytes()),
        *(cpio.link(f"bin/{name}", "busybox") for name in names if name != "busybox"),
        cpio.link("sbin", "bin"),
        cpio.link("init", "bin/init"),
        *(cpio.folder(name) for name in ("proc", "sys", "run", "tmp", "root")),
        cpio.plain("etc/passwd", b"root:x:0:0:root:/tmp:/bin/sh\n"),
        cpio.plain("etc/group", b"root:x:0:\n"),
        cpio.plain("lib/modules/order", order),
        *(cpio.plain(f"lib/modules/{f.name}", f.read_bytes()) for f in drivers),
        *_scripts("tiny"),
    ])


def probe(busybox: Path) -> bytes:
    """The initrd of probe, from the unpacked package of busybox."""
    return cpio.archive([
        *_DEVICES,
        cpio.plain("bin/busybox", (busybox / "bin/busybox").read_bytes()),
        *(cpio.link(f"bin/{name}", "busybox") for name in ("sh", "poweroff")),
        *_scripts("probe"),
    ])


def _scripts(name: str) -> list[cpio.Entry]:
    top = GUEST / name
    return [cpio.plain(str(f.relative_to(top)), f.read_bytes()) for f in sorted(top.rglob("*")) if f.is_file()]
