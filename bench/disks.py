"""Disks for the benchmarks of images: ext4 file systems of programs and libraries of this machine, and the next version of one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_FROM = ("/usr/lib/x86_64-linux-gnu", "/usr/share", "/usr/bin", "/usr/lib")
_MIB = 1024 * 1024
_LARGEST = 20 * _MIB
_REWRITTEN, _NEW_MIB, _LOG_MIB = 25, 3, 1


def filled(folder: Path, name: str, size_mib: int, used_mib: int) -> Path:
    """A file system of ``size_mib`` with about ``used_mib`` of files in it."""
    files, left = folder / f"{name}.files", used_mib * _MIB
    for source in _FROM:
        for file in sorted(Path(source).rglob("*")):
            if file.is_file() and not file.is_symlink() and os.access(file, os.R_OK) and file.stat().st_size < min(left, _LARGEST):
                target = files / file.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
                left -= file.stat().st_size
    disk = folder / f"{name}.raw"
    with disk.open("wb") as out:
        out.truncate(size_mib * _MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", files, disk], check=True, capture_output=True)
    shutil.rmtree(files)
    return disk


def changed(disk: Path, folder: Path) -> Path:
    """The next version of it: some files rewritten, some new, a log grown; about 10 MiB differ."""
    newer = folder / f"{disk.stem}-2.raw"
    subprocess.run(["cp", "--sparse=always", disk, newer], check=True)
    libraries = _list(newer, "/usr/lib/x86_64-linux-gnu")[::40][:_REWRITTEN]
    orders = []
    for number, name in enumerate(libraries):
        fresh = folder / f"fresh{number}"
        fresh.write_bytes(os.urandom(1000) + Path("/usr/bin/python3").read_bytes()[: 256 * 1024])
        orders += [f"rm /usr/lib/x86_64-linux-gnu/{name}", f"write {fresh} /usr/lib/x86_64-linux-gnu/{name}"]
    (folder / "new").write_bytes(b"".join(os.urandom(512) + bytes(512) for _ in range(_NEW_MIB * 1024)))
    (folder / "log").write_bytes(b"Jan  1 00:00:00 host daemon[1]: one more line\n" * (_LOG_MIB * 24000))
    orders += [f"write {folder / 'new'} /new", f"write {folder / 'log'} /log"]
    subprocess.run(["debugfs", "-w", "-f", "/dev/stdin", newer], input="\n".join(orders).encode(), check=True, capture_output=True)
    return newer


def _list(disk: Path, folder: str) -> list[str]:
    said = subprocess.run(["debugfs", "-R", f"ls -p {folder}", disk], check=True, capture_output=True, text=True).stdout
    rows = [line.split("/") for line in said.splitlines() if line.count("/") >= 6]
    return sorted(row[5] for row in rows if row[2].startswith("10") and int(row[6] or 0) > 50_000)
