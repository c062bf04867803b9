"""The larger demonstration image, made beside the running cloud; leaves a mark when it is there."""

from __future__ import annotations

import sys
from pathlib import Path

from luhyaapi import process

_PATIENCE_S = 3600


def main(argv: list[str]) -> None:
    """``demo MARK CLIENT...``: build and upload ``debian`` with that client."""
    mark, client = Path(argv[0]), argv[1:]
    home = {name: value for name in ("HOME", "EDUCLOUD_HOME") if (value := process.environment().get(name) or _given(name))}
    process.run([*client, "image", "build-demo", "--only", "debian"], timeout_s=_PATIENCE_S, env=home)
    mark.touch()


def _given(name: str) -> str:
    import os  # noqa: PLC0415

    return os.environ.get(name, "")


if __name__ == "__main__":
    main(sys.argv[1:])
