"""Serial consoles of this node's guests: one line to each that somebody looks at, however many look at it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from io import FileIO
from pathlib import Path

from luhyaapi import clock, log
from luhyaapi.errors import Refused
from luhyaapi.wire.ends import open_socket

VIEWERS_AT_MOST = 32
TAIL_BYTES = 64 * 1024
_TYPED_AT_MOST = 4096
_PIECE = 16 * 1024
_LOOK_MS = 250
_SOON_MS = 10
_SOON_TIMES = 5
_LAST_WORDS_S = 2.0
_log = log.get(__name__)


class Serials:
    """Joins viewers with the lines of their guests.

    What a guest says is read from its log, to which its hypervisor writes it in any case: so each viewer has the last of what was
    said before, no byte twice, and its own pace. Its socket takes what is typed, by all viewers in the order it comes, and
    rings when there is something to read.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def join(self, instance: str, at: Path, said: Path) -> socket.socket:
        """A viewer's end of the guest's line: ``at`` its socket, ``said`` its log. It ends when the guest does.

        Raises Refused(not_found) when nobody listens there, Refused(quota) when ``VIEWERS_AT_MOST`` look already.
        """
        near, far = socket.socketpair()
        far.setblocking(False)
        try:
            with self._lock:
                line = self._lines.get(instance)
                if line is None or not line.take(far):
                    self._lines[instance] = line = _Line(instance, *_both(at, said))
                    line.take(far)
                    threading.Thread(target=self._serve, args=(line,), name="serial", daemon=True).start()
        except BaseException:
            near.close()
            far.close()
            raise
        return near

    def _serve(self, line: _Line) -> None:
        try:
            line.serve()
        except OSError as error:
            _log.info("a serial line broke", instance=line.instance, why=str(error))
        finally:
            line.close()
            with self._lock:
                if self._lines.get(line.instance) is line:
                    del self._lines[line.instance]


def _both(at: Path, said: Path) -> tuple[socket.socket, FileIO]:
    try:
        log_file = FileIO(said, "rb")
    except OSError as error:
        raise Refused("not_found", "The instance has no console log yet", error.strerror or "") from error
    try:
        return open_socket(at), log_file
    except Refused:
        log_file.close()
        raise


class _Viewer:
    """Somebody who looks: ``at`` is how far in the log."""

    def __init__(self, sock: socket.socket, at: int) -> None:
        self.sock, self.at, self.unsent = sock, at, b""


class _Line:
    """One guest's serial port, as long as somebody looks at it."""

    def __init__(self, instance: str, guest: socket.socket, said: FileIO) -> None:
        self.instance = instance
        self._guest = guest
        self._said = said
        self._guest.setblocking(False)
        self._viewers: list[_Viewer] = []
        self._typed = b""
        self._is_over = False
        self._lock = threading.Lock()
        self._bell, self._ringer = socket.socketpair()

    def take(self, sock: socket.socket) -> bool:
        """Let somebody look too; whether this line still stands. Raises Refused(quota)."""
        with self._lock:
            if self._is_over:
                return False
            if len(self._viewers) >= VIEWERS_AT_MOST:
                raise Refused("quota", "Too many look at this serial console", f"at most {VIEWERS_AT_MOST} can")
            self._viewers.append(_Viewer(sock, self._where_to_begin()))
        self._ringer.send(b"!")
        return True

    def serve(self) -> None:
        """Until nobody looks or the guest ends."""
        soon = 0
        while self._somebody_looks():
            rung = self._round(_SOON_MS if soon else _LOOK_MS)
            if rung is None:
                break
            # the hypervisor rings first and writes its log then
            soon = _SOON_TIMES if rung else max(soon - 1, 0)
        until = clock.monotonic() + _LAST_WORDS_S
        while self._has_unsent() and clock.monotonic() < until:
            clock.sleep(_SOON_MS / 1000)

    def close(self) -> None:
        """Have it be over for everybody."""
        with self._lock:
            self._is_over = True
            viewers, self._viewers = self._viewers, []
        for sock in (*(v.sock for v in viewers), self._guest, self._bell, self._ringer):
            sock.close()
        self._said.close()

    def _somebody_looks(self) -> bool:
        with self._lock:
            self._is_over = not self._viewers
            return not self._is_over

    def _has_unsent(self) -> bool:
        """Give everybody what it takes now; whether something is left for somebody."""
        left = False
        for viewer in list(self._viewers):
            with contextlib.suppress(OSError):
                left |= self._tell(viewer)
        return left

    def _round(self, within_ms: int) -> bool | None:
        """Wait for something and do it; whether the guest rang, None when it ended."""
        poll = select.poll()
        poll.register(self._guest, select.POLLIN | (select.POLLOUT if self._typed else 0))
        poll.register(self._bell, select.POLLIN)
        with self._lock:
            by_number = {v.sock.fileno(): v for v in self._viewers}
        for number, viewer in by_number.items():
            reads = select.POLLIN if len(self._typed) < _TYPED_AT_MOST else 0
            poll.register(number, reads | select.POLLRDHUP | (select.POLLOUT if viewer.unsent else 0))
        found = dict(poll.poll(within_ms))
        if self._bell.fileno() in found:
            self._bell.recv(_PIECE)
        for number, viewer in by_number.items():
            self._serve_viewer(viewer, found.get(number, 0))
        return self._serve_guest(found.get(self._guest.fileno(), 0))

    def _serve_guest(self, found: int) -> bool | None:
        try:
            if found & select.POLLOUT:
                self._typed = self._typed[self._guest.send(self._typed):]
            if found & (select.POLLIN | select.POLLHUP | select.POLLERR):
                return True if self._guest.recv(_PIECE) else None
        except BlockingIOError:
            return False
        except ConnectionError:
            return None
        return False

    def _serve_viewer(self, viewer: _Viewer, found: int) -> None:
        try:
            typed = viewer.sock.recv(_PIECE) if found & select.POLLIN else b""
            self._typed += typed
            if not typed and found & (select.POLLIN | select.POLLRDHUP | select.POLLHUP | select.POLLERR):
                raise ConnectionResetError
            self._tell(viewer)
        except BlockingIOError:
            return
        except OSError:
            with self._lock:
                self._viewers.remove(viewer)
            viewer.sock.close()

    def _tell(self, viewer: _Viewer) -> bool:
        """Give one what it takes of what is new; whether something is left."""
        while piece := viewer.unsent or self._read(viewer):
            try:
                viewer.unsent = piece[viewer.sock.send(piece):]
            except BlockingIOError:
                viewer.unsent = piece
                return True
        return False

    def _read(self, viewer: _Viewer) -> bytes:
        size = os.fstat(self._said.fileno()).st_size
        # a log that became shorter was trimmed: what it ends with had been there before
        viewer.at = min(viewer.at, size)
        piece = os.pread(self._said.fileno(), _PIECE, viewer.at)
        viewer.at += len(piece)
        return piece.replace(b"\0", b"")

    def _where_to_begin(self) -> int:
        """The beginning of a line, not far before the log's end."""
        size = os.fstat(self._said.fileno()).st_size
        if size <= TAIL_BYTES:
            return 0
        found = os.pread(self._said.fileno(), _PIECE, size - TAIL_BYTES).find(b"\n")
        return size - TAIL_BYTES + found + 1
