"""``python -m bench.fetch_one CACHE URL BLOB``: what a node does to have a file; prints the bytes that came, seconds, and memory (KiB)."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path

from luhyaapi.contracts.specs import Blob
from luhyaapi.transfer.base import Source
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.download import Download, Patience


def main() -> None:
    """Fetch it, then say how."""
    cache, blob = BlobCache(Path(sys.argv[1]), 1 << 20, 0), Blob.model_validate_json(sys.argv[3])
    download = Download(cache, blob, threading.Event(), Patience())
    download.offer(Source(sys.argv[2], {"Authorization": "Ticket t"}))
    began = time.monotonic()
    path = download.run()
    used = resource.getrusage(resource.RUSAGE_SELF)
    took, cpu_s = time.monotonic() - began, used.ru_utime + used.ru_stime
    print(json.dumps({"s": took, "bytes": download.moved, "cpu_s": cpu_s, "kib": used.ru_maxrss, "file": str(path)}))


if __name__ == "__main__":
    main()
