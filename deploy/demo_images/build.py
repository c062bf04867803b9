"""Builds the demo images: ``tiny``, ``probe`` and ``debian``."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.demo_images import bootdisk, debian, initrd, packages, stage
from deploy.demo_images.packages import Cancelled, Package
from deploy.demo_images.stage import Built
from luhyaapi.errors import Failed, Refused

Progress = Callable[[str, float], None]
CODENAME = "bookworm"
CMDLINE = "console=ttyS0 console=tty0 panic=1 quiet"
PROBE_CMDLINE = "console=ttyS0 panic=1 quiet"
PROBE_MARKER = "EDUCLOUD-PROBE-OK"
_HERE = Path(__file__).parent
_RELEASE = "12"
_TOOLS = {
    "apt-cache": "apt", "apt-get": "apt", "apt-config": "apt", "dpkg-deb": "dpkg",
    "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils", "chroot": "coreutils",
}


def _silent(_step: str, _share: float) -> None:
    return


def build_tiny(out: Path, work: Path, progress: Progress = _silent, cancelled: Cancelled | None = None) -> Built:
    """The guest that boots in seconds: ``out/tiny/{kernel,initrd}``. Needs no root.

    ``progress(step, share)`` is told each step and how much is done, 0 to 1. ``work`` keeps fetched packages.
    Raises Failed(missing) when this host lacks something, Refused(cancelled), Unavailable(busy).
    """
    return _from_initrd("tiny", CMDLINE, (out, work), progress, cancelled)


def build_probe(out: Path, work: Path, progress: Progress = _silent, cancelled: Cancelled | None = None) -> Built:
    """The guest that says PROBE_MARKER on its serial port and is gone: ``out/probe/{kernel,initrd}``. As build_tiny."""
    return _from_initrd("probe", PROBE_CMDLINE, (out, work), progress, cancelled)


def build_debian(out: Path, work: Path, progress: Progress = _silent, cancelled: Cancelled | None = None) -> Built:
    """A bootable disk of Debian with cloud-init and the guest agent: ``out/debian/disk.qcow2``. Needs root.

    Parameters and errors as build_tiny.
    """
    _check_host(list(_TOOLS), root=True)
    wanted: dict[str, Package] = {}

    def versions() -> Mapping[str, str]:
        wanted.update(packages.candidates([*debian.PACKAGES, *bootdisk.PACKAGES]))
        wanted["kernel"] = packages.cloud_kernel()
        return {p.name: p.version for p in wanted.values()}

    def fill(folder: Path, scratch: Path) -> None:
        progress("packages of the boot loader", 0.02)
        grub = scratch / "grub"
        for name in bootdisk.PACKAGES:
            packages.unpack(packages.fetch(wanted[name], work / "debs", cancelled), grub, cancelled)
        progress("packages of the system", 0.05)
        root = scratch / "root"
        debian.fill_root(root, scratch, work / "archives", CODENAME, cancelled)
        _not(cancelled)
        progress("disk", 0.85)
        raw = scratch / "disk.raw"
        bootdisk.write(raw, root, grub, scratch, cancelled)
        progress("qcow2", 0.93)
        bootdisk.convert(raw, folder / "disk.qcow2", cancelled)

    scripts = stage.scripts_digest(*(_HERE / f for f in ("debian.py", "bootdisk.py", "guest/debian")))
    recipe = stage.Recipe("debian", {"disk": "disk.qcow2"}, "", scripts, versions)
    built = stage.make(recipe, out, work, fill)
    progress("done", 1.0)
    return built


def _from_initrd(
    name: str, cmdline: str, places: tuple[Path, Path], progress: Progress, cancelled: Cancelled | None,
) -> Built:
    out, work = places
    _check_host(["apt-cache", "apt-get", "dpkg-deb"], root=False)
    wanted: dict[str, Package] = {}

    def versions() -> Mapping[str, str]:
        wanted["kernel"] = packages.cloud_kernel()
        wanted.update(packages.candidates(["busybox-static"]))
        return {p.name: p.version for p in wanted.values()}

    def fill(folder: Path, scratch: Path) -> None:
        progress("kernel package", 0.1)
        kernel = packages.fetch(wanted["kernel"], work / "debs", cancelled)
        packages.unpack(kernel, scratch / "kernel", cancelled)
        progress("busybox package", 0.5)
        busybox = packages.unpack(packages.fetch(wanted["busybox-static"], work / "debs", cancelled), scratch / "busybox")
        progress("early file system", 0.7)
        boot = next((scratch / "kernel/boot").glob("vmlinuz-*"))
        packed = initrd.tiny(scratch / "kernel", busybox) if name == "tiny" else initrd.probe(busybox)
        _not(cancelled)
        shutil.copyfile(boot, folder / "kernel")
        (folder / "initrd").write_bytes(packed)

    scripts = stage.scripts_digest(*(_HERE / f for f in ("initrd.py", "cpio.py", "modules.py", f"guest/{name}")))
    recipe = stage.Recipe(name, {"kernel": "kernel", "initrd": "initrd"}, cmdline, scripts, versions)
    built = stage.make(recipe, out, work, fill)
    progress("done", 1.0)
    return built


def _check_host(tools: list[str], *, root: bool) -> None:
    """Raises Failed(missing) naming everything this host lacks."""
    release = _os_release()
    if release.get("ID") != "debian" or release.get("VERSION_ID") != _RELEASE:
        here = release.get("PRETTY_NAME", "an unknown system")
        raise Failed("missing", "The demo images are built on Debian 12", f"this host runs {here}")
    lacking = sorted({_TOOLS[t] for t in tools if shutil.which(t) is None})
    if lacking:
        hint = f"Run `apt-get install {' '.join(lacking)}`, then try again."
        raise Failed("missing", f"Not installed on this host: {', '.join(lacking)}", hint=hint)
    if root and os.geteuid() != 0:
        raise Failed("missing", "Building the debian image needs root", "its files must belong to root", hint="Run it as root.")


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _not(cancelled: Cancelled | None) -> None:
    if cancelled and cancelled():
        raise Refused("cancelled", "The build was cancelled")
