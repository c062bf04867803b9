"""Disks for the benchmarks of images: ext4 file systems of programs and libraries of this machine, and the next version of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_FROM = ("/usr/lib/x86_64-linux-gnu", "/usr/share", "/usr/bin", "/usr/lib")
_MIB = 1024 * 1024
_LARGEST = 20 * _MIB
_REWRITTEN, _NEW_MIB, _LOG_MIB, _FILES_OF_A_PACKAGE = 25, 3, 20, 400
_LINE = b"Jan  1 00:00:00 host daemon[1]: one more line\n"
_LINES_OF_A_MIB = _MIB // len(_LINE)


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


def grown(disk: Path, folder: Path) -> Path:
    """It, with a log of some size in it."""
    with _mounted(disk, folder) as top, (top / "log").open("ab") as log:
        log.write(_LINE * (_LOG_MIB * _LINES_OF_A_MIB))
    return disk


def versions(disk: Path, folder: Path) -> dict[str, Path]:
    """Next versions of it, by what was done, as the kernel writes them."""
    found = {}
    for what, change in (("10 MB changed", _rewrite), ("a log grown", _log), ("a package again", _reinstall), ("all moved", _move)):
        found[what] = folder / f"{disk.stem}-{what.replace(' ', '-')}.raw"
        subprocess.run(["cp", "--sparse=always", disk, found[what]], check=True)
        with _mounted(found[what], folder) as top:
            change(top)
    return found


def _rewrite(top: Path) -> None:
    """Some files written again with other content, some new, the log grown."""
    large = [file for file in _files(top / "usr/lib/x86_64-linux-gnu") if file.stat().st_size > _MIB // 16]
    for file in large[:: len(large) // _REWRITTEN][:_REWRITTEN]:
        file.unlink()
        file.write_bytes(os.urandom(1000) + Path("/usr/bin/python3").read_bytes()[: _MIB // 4])
    (top / "new").write_bytes(b"".join(os.urandom(512) + bytes(512) for _ in range(_NEW_MIB * 1024)))
    _log(top)


def _log(top: Path) -> None:
    with (top / "log").open("ab") as log:
        log.write(_LINE * _LINES_OF_A_MIB)


def _reinstall(top: Path) -> None:
    """A folder of programs written again as they are: a new file each, renamed to its place, as a package manager does."""
    for file in _files(top / "usr/share")[: _FILES_OF_A_PACKAGE]:
        fresh = file.with_name("fresh")
        shutil.copyfile(file, fresh)
        fresh.rename(file)


def _move(top: Path) -> None:
    """Every file written again in another order, as to defragment a full disk does."""
    for file in reversed(_files(top)):
        held = file.read_bytes()
        file.unlink()
        file.write_bytes(held)


def _files(top: Path) -> list[Path]:
    return sorted(file for file in top.rglob("*") if file.is_file() and not file.is_symlink())


@contextlib.contextmanager
def _mounted(disk: Path, folder: Path) -> Iterator[Path]:
    top = folder / "mounted"
    top.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,noatime", disk, top], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", top], check=True)
