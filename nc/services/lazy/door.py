"""A socket file on which one guest's hypervisor reads its image."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Protocol

from luhyaapi import log
from luhyaapi.errors import Failed
from nc.drivers.base import Account
from nc.services.lazy.nbd import Content, Session

_log = log.get(__name__)
CLIENTS_AT_MOST = 8


class Door(Protocol):
    """Open from the beginning."""

    def close(self) -> None:
        """Serve nobody any more; the socket file goes."""


def bound(path: Path, account: Account | None) -> socket.socket:
    """A socket at ``path``, also in place of an earlier one, that only ``account`` may open (None: we). Raises Failed(hypervisor).

    The folder must be ours alone to write.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            # through the folder: a socket's own path may not be long
            sock.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        # nobody gets in before it listens
        path.chmod(0o600)
        if account:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    except OSError as error:
        sock.close()
        raise Failed("hypervisor", "The image could not be opened to its guest", f"{path.name}: {error.strerror}") from error
    return sock


class SocketDoor:
    """Serves ``content`` at ``path`` from threads of its own."""

    def __init__(self, path: Path, account: Account | None, content: Content) -> None:
        self._path, self._content = path, content
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()
        self._sock = bound(path, account)
        self._sock.listen(CLIENTS_AT_MOST)
        self._is_open = True
        threading.Thread(target=self._accept, name="export", daemon=True).start()

    def close(self) -> None:
        """See :class:`Door`."""
        with self._lock:
            self._is_open = False
            sessions = list(self._sessions)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        for session in sessions:
            session.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with self._sock:
            while self._is_open:
                try:
                    sock, _ = self._sock.accept()
                except OSError as error:
                    if self._is_open:
                        _log.error("an export takes nobody any more", path=self._path.name, why=str(error))
                    return
                self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        session = Session(sock, self._content)
        with self._lock:
            fits = self._is_open and len(self._sessions) < CLIENTS_AT_MOST
            if fits:
                self._sessions.add(session)
        if fits:
            threading.Thread(target=self._serve, args=(session,), name="export client", daemon=True).start()
        else:
            sock.close()

    def _serve(self, session: Session) -> None:
        try:
            session.run()
        finally:
            with self._lock:
                self._sessions.discard(session)


class SilentDoor:
    """A socket file that nobody serves: for guests that are only pretended."""

    def __init__(self, path: Path, account: Account | None, content: Content) -> None:  # noqa: ARG002 - as SocketDoor
        self._path = path
        bound(path, account).close()

    def close(self) -> None:
        """See :class:`Door`."""
        self._path.unlink(missing_ok=True)
