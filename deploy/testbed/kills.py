"""Programs of a bed killed, frozen or stopped, and a disk that is full."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from deploy.testbed.bed import ROOT, Bed
from luhyaapi.errors import Failed

_PATIENCE_S = 180.0
SUPERVISOR = Path("/var/lib/educloud/supervisor/supervisor.sock")


def kill(bed: Bed, host: str, program: str) -> None:
    """As ``kill -9``: its supervisor starts it again. Raises Failed(missing) when no such program runs there now."""
    _signal(bed, host, program, signal.SIGKILL)


@contextlib.contextmanager
def frozen(bed: Bed, host: str, program: str) -> Iterator[None]:
    """It stands still, with all it holds, and goes on afterwards."""
    _signal(bed, host, program, signal.SIGSTOP)
    try:
        yield
    finally:
        # It may have been ended and started anew meanwhile: then there is nothing to wake.
        with contextlib.suppress(Failed):
            _signal(bed, host, program, signal.SIGCONT)


@contextlib.contextmanager
def stopped(bed: Bed, host: str, program: str) -> Iterator[None]:
    """As an operator stops a service: its supervisor ends it and starts it again only afterwards."""
    _supervise(bed, host, "stop", program)
    try:
        yield
    finally:
        _supervise(bed, host, "start", program)


@contextlib.contextmanager
def full(bed: Bed, host: str, folder: Path, size_mib: int = 1) -> Iterator[None]:
    """A folder of a host lies on a disk of its own that has room for ``size_mib``; what was in it is there again afterwards."""
    owner = bed.run(host, ["stat", "-c", "mode=%a,uid=%u,gid=%g", folder]).text.strip()
    inner = [each.strip() for each in bed.run(host, ["find", folder, "-mindepth", "1", "-type", "d", "-printf", "%m %U %G %P\\n"]).text.splitlines()]
    bed.run(host, ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,{owner}", "full", folder])
    try:
        for mode, uid, gid, path in (line.split(" ", 3) for line in inner):
            bed.run(host, ["install", "-d", "-m", mode, "-o", uid, "-g", gid, folder / path])
        bed.run(host, ["fallocate", "-l", f"{size_mib * 1000}KiB", folder / ".filled"], check=False)
        yield
    finally:
        bed.run(host, ["umount", "-l", folder])


def _signal(bed: Bed, host: str, program: str, sign: signal.Signals) -> None:
    pid = bed.programs(host).get(program)
    if pid is None:
        raise Failed("missing", f"No {program} runs on {host} now")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)


def _supervise(bed: Bed, host: str, verb: str, program: str) -> None:
    bed.run(host, [ROOT / ".venv/bin/supervisorctl", "-s", f"unix://{SUPERVISOR}", verb, program], timeout_s=_PATIENCE_S)
