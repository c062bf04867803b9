"""A byte door for the benchmarks: ``python -m bench.byte_door STORE PORT [LIBRARY]`` gives what a block store has, and takes uploads."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from bench.images import opened
from luhyaapi.wire.blobs import blob_routes, block_routes, upload_routes
from luhyaapi.wire.http import Door
from walrus.services.library import Library


def main() -> None:
    """Serve until the end of the process."""
    store = opened(Path(sys.argv[1]))
    routes = [*block_routes("walrus", store, lambda *_: None), *blob_routes("walrus", store, lambda *_: None)]
    if len(sys.argv) > 3:
        routes += upload_routes("walrus", Library(Path(sys.argv[3]), store), lambda *_: None)
    Door("walrus", "0.0.0.0", int(sys.argv[2]), routes, lambda: ()).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
