"""A plain web server of files, as one would take it: nginx."""

from __future__ import annotations

import contextlib
import subprocess
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
    server = subprocess.Popen([*there, "nginx", "-e", "stderr", "-c", folder / "nginx.conf", "-p", folder])
    try:
        time.sleep(1)
        yield
    finally:
        server.terminate()
        server.wait()
