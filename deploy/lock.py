"""What one role needs of requirements.txt, with its hashes: ``python -m deploy.lock nc`` prints it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.txt"
_SHARED = {
    "pydantic", "pydantic-settings", "cryptography", "celery", "kombu", "pika", "prometheus-client", "structlog", "psutil", "httpx",
    "cheroot", "pycurl",
}
_REMEMBERS = {"django", "mysqlclient"}
ROOTS = {
    "walrus": _SHARED | {"oslo-utils"},
    "cc": _SHARED | _REMEMBERS,
    "nc": _SHARED | {"libvirt-python", "lxml", "pycdlib"},
    "sc": _SHARED,
}
"""The packages a role's own code imports. The CLC needs the whole lock."""


def _blocks(text: str) -> dict[str, tuple[str, set[str]]]:
    """Package -> its lines, and the packages that asked for it."""
    found: dict[str, tuple[str, set[str]]] = {}
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE):
        name = re.match(r"[a-z0-9.-]+", block)
        if name:
            asked = {word for line in block.splitlines() if "#" in line for word in re.findall(r"[a-z][a-z0-9.-]*", line.split("#", 1)[1])}
            found[name.group().replace(".", "-")] = block, {word.replace(".", "-") for word in asked} - {"via", "-r"}
    return found


def needed(role: str, lock: str | None = None) -> str:
    """The part of the lock that a role needs: what it imports, and what that needs in turn. Raises KeyError for the CLC."""
    blocks = _blocks(LOCK.read_text("utf-8") if lock is None else lock)
    wanted = set(ROOTS[role])
    missing = wanted - set(blocks)
    if missing:
        raise KeyError(f"not in the lock: {', '.join(sorted(missing))}")
    while more := {name for name, (_, asked) in blocks.items() if name not in wanted and asked & wanted}:
        wanted |= more
    return "".join(block for name, (block, _) in blocks.items() if name in wanted)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ROOTS:
        sys.exit(f"usage: python -m deploy.lock {'|'.join(ROOTS)}")
    sys.stdout.write(needed(sys.argv[1]))
