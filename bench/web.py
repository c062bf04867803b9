"""Servers of files for the benchmarks, each in a namespace of its own: nginx, as one would take it, and our byte door."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_CONFIG = """\
user root; daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
events {{ }}
http {{ access_log off; sendfile on; server {{ listen {port}; root {folder}; }} }}
"""


@contextlib.contextmanager
def files(folder: Path, port: int, there: Sequence[str] = ()) -> Iterator[None]:
    """What is below ``folder``, at every address of the host ``there`` (the words before a program)."""
    (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, port=port))
    with _running([*there, "nginx", "-e", "stderr", "-c", folder / "nginx.conf", "-p", folder], 1):
        yield


@contextlib.contextmanager
def door(store: Path, port: int, there: Sequence[str] = (), library: Path | None = None) -> Iterator[None]:
    """What a block store has, by our byte door; with a ``library`` it takes uploads too."""
    with _running([*there, sys.executable, "-m", "bench.byte_door", store, str(port), *([library] if library else [])], 3):
        yield


@contextlib.contextmanager
def _running(words: Sequence[str | Path], ready_s: float) -> Iterator[None]:
    server = subprocess.Popen(words)
    try:
        time.sleep(ready_s)
        yield
    finally:
        server.terminate()
        server.wait()
