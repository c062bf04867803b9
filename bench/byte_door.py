"""A byte door for the benchmarks: ``python -m bench.byte_door STORE PORT`` gives what a block store has, in a namespace of its own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from bench.packing import opened
from luhyaapi.wire.blobs import block_routes
from luhyaapi.wire.http import Door


def main() -> None:
    """Serve until the end of the process."""
    store = opened(Path(sys.argv[1]))
    Door("walrus", "0.0.0.0", int(sys.argv[2]), block_routes("walrus", store, lambda *_: None), lambda: ()).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
