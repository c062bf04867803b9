"""What some roles, the client, or a profile, need of requirements.txt, with its hashes: ``python deploy/lock.py nc cc`` prints it. Standard library only."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.txt"
_SHARED = {
    "pydantic", "pydantic-settings", "cryptography", "celery", "kombu", "pika", "prometheus-client", "structlog", "psutil", "httpx",
    "cheroot", "pycurl", "supervisor",
}
_REMEMBERS = {"django", "mysqlclient"}
_BLOCKS = {"blake3", "zstandard"}
ROOTS = {
    "walrus": _SHARED | _BLOCKS | {"oslo-utils", "botocore"},
    "cc": _SHARED | _BLOCKS | _REMEMBERS,
    "nc": _SHARED | _BLOCKS | {"libvirt-python", "lxml", "pycdlib"},
    "sc": _SHARED,
    "client": {"typer", "httpx", "websockets"},
}
"""The packages a role's own code imports, and that of the command line client. The CLC needs the whole lock."""
COMPILED = {"mysqlclient", "libvirt-python", "python-ldap"}
"""What has no wheel and takes a compiler: without root MariaDB is not used, libvirt's binding comes from Debian's package, and LDAP's too if wanted."""
PROFILES = ("rootless", "demo")


def _blocks(text: str) -> dict[str, tuple[str, set[str]]]:
    """Package -> its lines, and the packages that asked for it."""
    found: dict[str, tuple[str, set[str]]] = {}
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE):
        name = re.match(r"[a-z0-9.-]+", block)
        if name:
            asked = {word for line in block.splitlines() if "#" in line for word in re.findall(r"[a-z][a-z0-9.-]*", line.split("#", 1)[1])}
            found[name.group().replace(".", "-")] = block, {word.replace(".", "-") for word in asked} - {"via", "-r"}
    return found


def needed(*roles: str, lock: str | None = None) -> str:
    """The part of the lock that roles need: what they import, and what that needs in turn. Raises KeyError for the CLC."""
    blocks = _blocks(LOCK.read_text("utf-8") if lock is None else lock)
    wanted = set().union(*(ROOTS[role] for role in roles))
    missing = wanted - set(blocks)
    if missing:
        raise KeyError(f"not in the lock: {', '.join(sorted(missing))}")
    while more := {name for name, (_, asked) in blocks.items() if name not in wanted and asked & wanted}:
        wanted |= more
    return "".join(block for name, (block, _) in blocks.items() if name in wanted)


def uncompiled(lock: str | None = None) -> str:
    """The lock without what must be compiled, for a machine on which nothing is installed. Raises KeyError when others need that."""
    blocks = _blocks(LOCK.read_text("utf-8") if lock is None else lock)
    left = {name: block for name, block in blocks.items() if name not in COMPILED}
    if torn := sorted(name for name in COMPILED if {n for n in left if n in blocks[name][1]}):
        raise KeyError(f"still needed: {', '.join(torn)}")
    return "".join(block for block, _ in left.values())


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in PROFILES:
        sys.stdout.write(uncompiled())
        sys.exit()
    if not sys.argv[1:] or not set(sys.argv[1:]) <= set(ROOTS):
        sys.exit(f"usage: python deploy/lock.py {'|'.join(ROOTS)}... | {'|'.join(PROFILES)}")
    sys.stdout.write(needed(*sys.argv[1:]))
