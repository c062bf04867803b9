"""The file tree of the debian image: packages by mmdebstrap, our few files, nothing of the build host, no mount."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from deploy.demo_images import packages
from deploy.demo_images.packages import Cancelled
from luhyaapi import process
from luhyaapi.errors import Failed

PACKAGES = (
    "linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "dbus", "udev",
    "cloud-init", "cloud-guest-utils", "fdisk", "qemu-guest-agent", "openssh-server", "sudo", "iproute2",
    "iputils-ping", "ca-certificates", "less", "nano", "procps", "netbase", "bash-completion",
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FILES = Path(__file__).parent / "guest/debian"
_ENABLED = (
    "systemd-networkd", "systemd-networkd-wait-online", "systemd-resolved", "systemd-timesyncd", "ssh",
    "cloud-init-local", "cloud-init", "cloud-config", "cloud-final",
)
_DISABLED = ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_reap")
_MASKED = ("systemd-binfmt",)
_LEFT_OUT = ("man", "doc", "info", "locale", "lintian", "doc-base")
_NOT_KEPT = (
    "etc/apt/apt.conf.d/99mmdebstrap", "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed",
    "var/log/*.log", "var/log/apt/*", "var/cache/apt/*.bin", "var/cache/debconf/*-old", "var/lib/dpkg/*-old",
)


def fill_root(root: Path, scratch: Path, archives: Path, codename: str, cancelled: Cancelled | None = None) -> None:
    """Puts the whole system below ``root``, which must not exist; package files are kept in ``archives``.

    Raises Failed(missing), Failed(program) with what mmdebstrap said, Refused(cancelled).
    """
    if not KEYRING.is_file():
        raise Failed("missing", "Not installed on this host: debian-archive-keyring", f"{KEYRING} is not there")
    archives.mkdir(parents=True, exist_ok=True)
    ours = scratch / "ours"
    _own_copy(_FILES, ours)
    process.run(_bootstrap(root, ours, archives, codename), timeout_s=1800, cancelled=cancelled)
    for action, units in (("enable", _ENABLED), ("disable", _DISABLED), ("mask", _MASKED)):
        process.run(["chroot", root, "systemctl", "--quiet", action, *units], timeout_s=60, cancelled=cancelled)
    _make_unborn(root, ours)


def _bootstrap(root: Path, ours: Path, archives: Path, codename: str) -> list[str | Path]:
    options = [*packages.fetch_options(), 'Acquire::Languages "none";', 'Apt::Install-Recommends "false";']
    kept = shlex.quote(str(archives))
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    return [
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
        "--skip=chroot/mount,essential/unlink",
        *(f"--aptopt={line}" for line in options),
        *left_out, "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=force-unsafe-io",  # a build that dies begins anew: no file needs to be synced
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives"',
        f"--setup-hook=sync-in {kept} /var/cache/apt/archives",
        # Before the kernel's package makes its early file system, which reads some of them.
        f"--essential-hook=sync-in {shlex.quote(str(ours))} /",
        f"--customize-hook=sync-out /var/cache/apt/archives {kept}",
        f"--include={','.join(PACKAGES)}",
        codename, root,
        *(line.replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in packages.sources(codename)),
    ]


def _own_copy(files: Path, to: Path) -> None:
    """A copy that belongs to root with plain modes, whoever owns the checkout."""
    shutil.copytree(files, to)
    for path in (to, *to.rglob("*")):
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() else 0o644)


def _make_unborn(root: Path, ours: Path) -> None:
    """No identity yet, nothing of the build host: names and keys are made when an instance boots first."""
    for pattern in _NOT_KEPT:
        for path in root.glob(pattern):
            if path.is_file() or path.is_symlink():
                path.unlink()
    # Once more: packages and mmdebstrap have put their own, or the host's, in the place of some.
    shutil.copytree(ours, root, dirs_exist_ok=True)
    (root / "etc/machine-id").write_bytes(b"")
    resolv = root / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.symlink_to("../run/systemd/resolve/stub-resolv.conf")
