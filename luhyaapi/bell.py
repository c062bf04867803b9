"""A bell between processes of one role on one host: who hears it looks at once for what it would have found a moment later."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from luhyaapi import log
from luhyaapi.process import Loop

_log = log.get(__name__)
_LOOK_S = 1.0
NAME = "bell"


class Bell:
    """Calls ``on_ring()`` for every ring at ``path``, a socket only this account may write to.

    Nothing depends on it but speed: where it cannot hang (a path too long for a socket), that is logged and all goes on.
    """

    def __init__(self, path: Path, on_ring: Callable[[], None]) -> None:
        self._path, self._on_ring = path, on_ring
        self._socket: socket.socket | None = None
        self._loop = Loop("bell", self._listen, 0)

    def start(self) -> None:
        """Hang it."""
        self._path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(str(self._path))
            self._path.chmod(0o600)
        except OSError as e:
            sock.close()
            _log.warning("the bell cannot hang", why=str(e))
            return
        sock.settimeout(_LOOK_S)
        self._socket = sock
        self._loop.start()

    def stop(self) -> None:
        """Take it down."""
        if self._socket is None:
            return
        self._loop.stop()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _listen(self) -> None:
        assert self._socket is not None  # noqa: S101 - it hangs
        with contextlib.suppress(TimeoutError):
            self._socket.recv(1)
            self._on_ring()


def ring(path: Path) -> None:
    """Ring the bell at ``path``; nobody may be there to hear it, or it may be ringing already."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(b"", str(path))
