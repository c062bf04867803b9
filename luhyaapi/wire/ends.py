"""The near end of a stream: what on this host is joined with one."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from luhyaapi.errors import Refused

WITHIN_S = 5.0
_BUFFER = 64 * 1024
_FOLLOW_S = 0.3


@dataclass(frozen=True)
class UnixSocket:
    """Something on this host that listens on a socket file."""

    path: Path


Local = int | Path | UnixSocket | socket.socket
"""What a bridge starts from: a TCP port of loopback, a file from its beginning, a socket file, a socket that is open already."""


def open_end(local: Local, follow: bool, idle_s: float) -> socket.socket:
    """A connected socket to it. Raises Refused(not_found) when there is no such port, socket or file."""
    match local:
        case socket.socket():
            return local
        case UnixSocket(path):
            return open_socket(path)
        case Path():
            return _open_file(local, follow, idle_s)
        case int():
            return _open_port(local)


def open_socket(path: Path) -> socket.socket:
    """A connected socket to whoever listens on a socket file, which may lie deep. Raises Refused(not_found)."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        # Whoever listens may have put a link to another door in its place, which we may pass and it may not.
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            if not stat.S_ISSOCK(os.fstat(handle).st_mode):
                raise Refused("not_found", "Nothing listens there", f"{path.name} is no socket")
            sock.settimeout(WITHIN_S)
            sock.connect(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
    except OSError as e:
        sock.close()
        raise Refused("not_found", "Nothing listens there", f"{path.name}: {e.strerror or e}") from e
    except Refused:
        sock.close()
        raise
    return sock


def _open_port(port: int) -> socket.socket:
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
    except OSError as e:
        raise Refused("not_found", "Nothing listens there", f"port {port}: {e}") from e
    tune(sock)
    return sock


def _open_file(path: Path, follow: bool, idle_s: float) -> socket.socket:
    try:
        file = path.open("rb")
    except OSError as e:
        raise Refused("not_found", "There is no such log", f"{path.name}: {e.strerror}") from e
    near, far = socket.socketpair()

    def feed() -> None:
        far.settimeout(idle_s)
        with file, far, contextlib.suppress(OSError):
            while True:
                data = file.read(_BUFFER)
                if data:
                    far.sendall(data)
                elif not follow or _hung_up(far, _FOLLOW_S):
                    break
            far.shutdown(socket.SHUT_WR)

    threading.Thread(target=feed, name="feed", daemon=True).start()
    return near


def _hung_up(sock: socket.socket, within_s: float) -> bool:
    """Whether the other side ends within that time; what it says otherwise is dropped."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(within_s * 1000)) and not sock.recv(_BUFFER)


def tune(sock: socket.socket) -> None:
    """Have small pieces go at once, and a peer that vanished be found out."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # a peer that vanished without a word is found out after 2 minutes; a quiet screen may stay for hours
        for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
