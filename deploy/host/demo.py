"""The larger demonstration image, made beside the running cloud; leaves a mark when it is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from luhyaapi import process

_PATIENCE_S = 3600


def main(argv: list[str]) -> None:
    """``demo MARK CLIENT...``: build and upload ``debian`` with that client."""
    mark, client = Path(argv[0]), argv[1:]
    env = {"HOME": os.environ["HOME"], "EDUCLOUD_HOME": os.environ["EDUCLOUD_HOME"]}
    process.run([*client, "image", "build-demo", "--only", "debian"], timeout_s=_PATIENCE_S, env=env)
    mark.touch()


if __name__ == "__main__":
    main(sys.argv[1:])
