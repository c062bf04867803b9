"""One of many nodes that fetch the same file: ``python -m bench.fetch_member CACHE PORT URL BLOB [NEIGHBOUR_URL...]``.

It gives what it has at PORT from the beginning, prints as :mod:`bench.fetch_one` when it has all, and ends with its standard input.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from luhyaapi.contracts.specs import Blob
from luhyaapi.transfer.base import Source
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.download import Download, Patience
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.transfer.growing import PATIENCE_S
from luhyaapi.wire.blobs import block_routes
from luhyaapi.wire.http import Door

_TICKET = {"Authorization": "Ticket t"}


def main() -> None:
    """Give and fetch."""
    cache, blob = BlobCache(Path(sys.argv[1]), 1 << 20, 0), Blob.model_validate_json(sys.argv[4])
    Door("nc", "0.0.0.0", int(sys.argv[2]), block_routes("nc", CacheGiver(cache, PATIENCE_S), lambda *_: None), lambda: ()).start()
    print("{}", flush=True)
    sys.stdin.readline()
    download = Download(cache, blob, threading.Event(), Patience())
    download.offer(Source(sys.argv[3], _TICKET), [Source(url, _TICKET) for url in sys.argv[5:]])
    began = time.monotonic()
    path = download.run()
    print(json.dumps({"s": time.monotonic() - began, "bytes": download.moved, "cpu_s": time.process_time(), "file": str(path)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
