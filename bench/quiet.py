"""Whether the machine is quiet enough to measure on, and what it was measured on: load, commit, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUSY = "EDUCLOUD_BENCH_BUSY"
"""Set in the environment: measure whatever the load is, and say so in the result."""
QUIET = 0.5
"""The most that the load of a minute may be: processes that ran or would have run."""
PATIENCE_S = 300.0
_LOOK_EVERY_S = 5.0
_ROOT = Path(__file__).resolve().parent.parent


class TooBusyError(Exception):
    """The machine did not become quiet in time."""


def load() -> float:
    return os.getloadavg()[0]


def awaited(look: Callable[[], float] = load, sleep: Callable[[float], None] = time.sleep, say: Callable[[str], None] = print) -> float:
    """The load of a minute once it is at most ``QUIET``, after ``PATIENCE_S`` at most. Raises TooBusyError.

    A benchmark that just ended is load too, which is why it waits at all.
    """
    now, waited = look(), 0.0
    if now > QUIET:
        say(f"The load of a minute is {now:.2f}; waiting up to {PATIENCE_S:.0f} s for {QUIET}.")
    while now > QUIET and waited < PATIENCE_S:
        sleep(_LOOK_EVERY_S)
        waited += _LOOK_EVERY_S
        now = look()
    if now > QUIET:
        raise TooBusyError(f"The load of a minute is {now:.2f} after {waited:.0f} s, more than {QUIET}: something else runs, and what is measured beside it "
                      f"is not worth keeping. Stop it, or measure anyway: make bench BUSY=1, or {BUSY}=1 in the environment.")
    return now


def machine(load: float) -> dict[str, Any]:
    """What it is measured on, with the load of a minute before and whether that is too much."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(), "cpu": model[0] if model else platform.machine(), "memory_kib": int(memory.split()[1]),
        "kernel": platform.release(), "python": platform.python_version(), "load_before": load, "busy": load > QUIET, "commit": commit(),
    }


def commit(root: Path = _ROOT) -> str:
    """The commit that is measured, with a ``+`` when files differ from it; ``unknown`` where there is no git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results", ":!docs")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
