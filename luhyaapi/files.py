"""Files that survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from luhyaapi import points


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Old content or new content, never a mix, also after a power cut; readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    points.at("file: before rename")
    half.rename(path)
    points.at("file: after rename")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
