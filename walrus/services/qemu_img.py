"""qemu-img, always enclosed, always told which format a file has."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

from luhyaapi import sandbox
from luhyaapi.errors import Failed, Trouble
from luhyaapi.process import Finished
from walrus.services.verdict import cut_off, refused

_MIB = 1024 * 1024
_PATIENCE_S = 600.0
_LOOKING = sandbox.Limits(cpu_s=30, deadline_s=_PATIENCE_S)
_DISK, _RAW = "/disk", "/raw"
_DRIVERS = {"vhd": "vpc"}
_CHECKED = frozenset(("qcow2", "vmdk", "vdi", "vhdx"))
_LEAKED = 3
_TOO_MUCH = {128 + s for s in (signal.SIGXCPU, signal.SIGXFSZ)}
_KILLED = 128 + signal.SIGKILL
_SHORT = "Resource temporarily unavailable"
_FULL = ("No space left on device", "Disk quota exceeded")


def check(path: Path, format: str, cancelled: Callable[[], bool] | None = None) -> None:
    """Have it look for damage, with little time and memory; clusters that nobody uses are harmless.

    Raises Refused(image_format), Refused(cancelled), Failed(missing), Failed(program) when nothing can be enclosed here.
    """
    if format not in _CHECKED:
        return
    done = _run(["check", "-f", _driver(format), "--output=json", _DISK], path, "checking it took too long", cancelled)
    if done.code not in (0, _LEAKED):
        found = _said(done).get("corruptions")
        raise cut_off(f"it is damaged or cut off ({f'{found} corruptions' if found else _last(done)})")


def virtual_size(path: Path, format: str, cancelled: Callable[[], bool] | None = None) -> int:
    """Bytes of the disk in it, as qemu-img understands it. Raises what :func:`check` raises."""
    done = _run(["info", "-f", _driver(format), "--output=json", _DISK], path, "looking into it took too long", cancelled)
    said = _said(done)
    size = said.get("virtual-size")
    if done.code != 0 or not isinstance(size, int):
        raise refused(f"it cannot be opened ({_last(done)})")
    if "backing-filename" in said or said.get("encrypted"):
        raise refused("it is based on another file or encrypted")
    return size


def convert(path: Path, format: str, target: Path, size: int, cancelled: Callable[[], bool]) -> None:
    """Write its disk of ``size`` bytes into ``target``, an empty raw file of that size; zeros stay holes.

    Raises what :func:`check` raises, and Failed(disk_full).
    """
    # 4 MiB of file and 256 MiB of disk a second are little, even for a slow machine.
    cpu_s = 120 + path.stat().st_size // (4 * _MIB) + size // (256 * _MIB)
    done = _run(
        ["convert", "-q", "-n", "--target-is-zero", "-S", "4k", "-f", _driver(format), "-O", "raw", _DISK, _RAW],
        path, "converting it took too long", cancelled, target,
        sandbox.Limits(cpu_s=cpu_s, file_size=max(size, 1), deadline_s=_PATIENCE_S + 4.0 * cpu_s),
    )
    if done.code != 0:
        if any(words in _last(done) for words in _FULL):
            raise Failed("disk_full", "The image could not be converted", _last(done))
        raise cut_off(f"it is damaged or cut off ({_last(done)})")


def _run(
    argv: list[str], path: Path, late: str, cancelled: Callable[[], bool] | None, target: Path | None = None,
    limits: sandbox.Limits = _LOOKING,
) -> Finished:
    try:
        done = sandbox.run(
            ["qemu-img", *argv], readable={_DISK: path}, writable={_RAW: target} if target else {}, limits=limits,
            check=False, cancelled=cancelled,
        )
    except Trouble as e:
        if e.code == "timeout":
            raise refused(late) from e
        raise
    if done.code in _TOO_MUCH:
        raise refused(late)
    if done.code == _KILLED:
        raise Failed("program", "qemu-img was killed", "not by us; perhaps memory was short")
    if done.code != 0 and _last(done) == _SHORT:
        raise Failed("program", "qemu-img got no further thread", _SHORT, hint="Try again when the host of the store has less to do.")
    return done


def _driver(format: str) -> str:
    return _DRIVERS.get(format, format)


def _said(done: Finished) -> dict[str, object]:
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _last(done: Finished) -> str:
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.code}"]
    return said[-1].rsplit(": ", 1)[-1][:200]
