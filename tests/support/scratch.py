"""Folders in memory for what a test throws away; those that a killed process left are taken away by the next."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

BASE = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
_swept: list[Path] = []


def folder(kind: str, base: Path = BASE) -> Path:
    """A new one, named by who made it."""
    if base not in _swept:
        _swept.append(base)
        sweep(base)
    return Path(tempfile.mkdtemp(prefix=f"educloud-{kind}.{os.getpid()}.", dir=base))


def sweep(base: Path = BASE) -> None:
    """Take away what processes left that are no more."""
    for left in base.glob("educloud-*.*.*"):
        maker = left.name.split(".")[1]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            shutil.rmtree(left, ignore_errors=True)
