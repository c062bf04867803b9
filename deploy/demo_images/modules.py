"""Kernel modules in the order in which they can be loaded one by one."""

from __future__ import annotations

import re
from pathlib import Path

from luhyaapi.errors import Failed

_DEPENDS = re.compile(rb"\0depends=([A-Za-z0-9_,-]*)\0")


def in_order(folder: Path, wanted: list[str]) -> list[Path]:
    """The files of ``wanted`` and of all they need, below ``folder``, each after what it needs.

    A module built into the kernel needs no file. Raises Failed(missing) for one that is neither.
    """
    files = {f.stem.replace("-", "_"): f for f in sorted(folder.rglob("*.ko"))}
    listed = next(folder.rglob("modules.builtin"), None)
    inside = {Path(line).stem.replace("-", "_") for line in listed.read_text().splitlines()} if listed else set()
    out: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in out or name in inside:
            return
        if name not in files:
            raise Failed("missing", f"The kernel has no module {name}", f"looked below {folder.name}")
        found = _DEPENDS.search(files[name].read_bytes())
        for needed in (found.group(1).decode() if found else "").split(","):
            if needed:
                add(needed.replace("-", "_"))
        out[name] = files[name]

    for name in wanted:
        add(name)
    return list(out.values())
