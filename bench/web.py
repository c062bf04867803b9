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
def door(store: Path, port: int, there: Sequence[str] = (), library: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """What a block store has, by our byte door; with a ``library`` it takes uploads too."""
    with _running([*there, sys.executable, "-m", "bench.byte_door", store, str(port), *([library] if library else [])], 3) as server:
        yield server


@contextlib.contextmanager
def rsync(folder: Path, port: int, there: Sequence[str] = ()) -> Iterator[None]:
    """What is below ``folder`` as the module ``all`` of an rsync daemon."""
    (folder / "rsyncd.conf").write_text(f"use chroot = no\nuid = root\ngid = root\n[all]\npath = {folder}\nread only = yes\n")
    with _running([*there, "rsync", "--daemon", "--no-detach", f"--port={port}", f"--config={folder / 'rsyncd.conf'}"], 1):
        yield


def memory_mib(server: subprocess.Popen[bytes]) -> float:
    """The most memory it has had so far."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@contextlib.contextmanager
def _running(words: Sequence[str | Path], ready_s: float) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen(words)
    try:
        time.sleep(ready_s)
        yield server
    finally:
        server.terminate()
        server.wait()
