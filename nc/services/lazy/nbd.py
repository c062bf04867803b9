"""The read-only half of the NBD protocol, spoken with one client: a guest's hypervisor, which is not trusted.

Fixed newstyle handshake, one export without a name, simple replies, in any order.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from typing import BinaryIO, Protocol

from luhyaapi import log

_log = log.get(__name__)
HANDSHAKE_S = 10.0
PREFERRED, LARGEST = 64 * 1024, 32 * 1024 * 1024
"""Bytes of one read: best, and at most."""
WAITING_AT_MOST = 64
"""Reads of one client that wait for their bytes; more are not taken in."""
_OPTIONS_AT_MOST = 32
_OPTION_BYTES_AT_MOST = 8 * 1024

GREETING, OPTION, REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
_FIXED, _NO_ZEROES = 1, 2
EXPORT_NAME, ABORT, LIST, INFO, GO = 1, 2, 3, 6, 7
ACK, SERVER, INFORMATION = 1, 2, 3
UNSUPPORTED, INVALID, UNKNOWN = 0x80000001, 0x80000003, 0x80000006
_INFO_EXPORT, _INFO_SIZES = 0, 3
FLAGS = 1 | 2 | 256
"""Has flags, read-only, may be opened by several."""
REQUEST, ANSWER = struct.Struct(">IHHQQI"), struct.Struct(">IIQ")
ASKED, ANSWERED = 0x25609513, 0x67446698
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
_NOT_PERMITTED, _INVALID = 1, 22
_OPTION = struct.Struct(">QII")


class Content(Protocol):
    """What is read. ``size`` in bytes."""

    size: int

    def get(self, offset: int, length: int) -> BinaryIO | None:
        """The open file that has these bytes now, at their place; None: they come, and :meth:`wait` tells when to ask again."""

    def wait(self, seen: int) -> int:
        """Sleep until something came, or :meth:`wake`, since ``seen``; what to say next time. First: 0."""

    def wake(self) -> None:
        """Have everybody who waits ask again."""


class Broken(Exception):  # noqa: N818 - ends one connection, and never leaves it
    """The client does not speak this protocol, or went away."""


class Session:
    """One client. ``run`` ends with its connection; ``close``, from another thread, ends it."""

    def __init__(self, sock: socket.socket, content: Content) -> None:
        self._sock, self._content = sock, content
        self._sending = threading.Lock()
        self._waiting: list[tuple[int, int, int]] = []
        self._room = threading.Condition()
        self._open = True

    def run(self) -> None:
        """Serve it."""
        try:
            self._sock.settimeout(HANDSHAKE_S)
            if not self._agree():
                return
            self._sock.settimeout(None)
            threading.Thread(target=self._late, name="export reads", daemon=True).start()
            while self._one():
                pass
        except (Broken, OSError) as error:
            _log.info("export connection ended", why=str(error))
        finally:
            self.close()
            self._sock.close()

    def close(self) -> None:
        """End it; reads that wait are answered no more."""
        with self._room:
            self._open = False
            self._room.notify_all()
        self._content.wake()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # ---- handshake

    def _agree(self) -> bool:
        """Whether reading may begin."""
        self._sock.sendall(struct.pack(">QQH", GREETING, OPTION, _FIXED | _NO_ZEROES))
        (wishes,) = struct.unpack(">I", self._take(4))
        if wishes & ~(_FIXED | _NO_ZEROES) or not wishes & _FIXED:
            raise Broken("unknown wishes")
        for _ in range(_OPTIONS_AT_MOST):
            magic, option, length = _OPTION.unpack(self._take(_OPTION.size))
            if magic != OPTION or length > _OPTION_BYTES_AT_MOST:
                raise Broken("no option")
            data = self._take(length)
            if option == EXPORT_NAME:
                if data:
                    raise Broken("unknown export")
                self._sock.sendall(struct.pack(">QH", self._content.size, FLAGS) + bytes(0 if wishes & _NO_ZEROES else 124))
                return True
            if option == ABORT:
                self._reply(option, ACK)
                return False
            if self._answers(option, data):
                return True
        raise Broken("too many options")

    def _answers(self, option: int, data: bytes) -> bool:
        """Answer an option; whether it was the last one."""
        if option == LIST:
            if data:
                self._reply(option, INVALID)
                return False
            self._reply(option, SERVER, bytes(4))
            self._reply(option, ACK)
        elif option in (INFO, GO):
            if not _is_well_formed(data):
                self._reply(option, INVALID)
                return False
            if struct.unpack_from(">I", data)[0]:
                self._reply(option, UNKNOWN)
                return False
            self._reply(option, INFORMATION, struct.pack(">HQH", _INFO_EXPORT, self._content.size, FLAGS))
            self._reply(option, INFORMATION, struct.pack(">HIII", _INFO_SIZES, 1, PREFERRED, LARGEST))
            self._reply(option, ACK)
            return option == GO
        else:
            self._reply(option, UNSUPPORTED)
        return False

    def _reply(self, option: int, kind: int, data: bytes = b"") -> None:
        self._sock.sendall(struct.pack(">QIII", REPLY, option, kind, len(data)) + data)

    # ---- reading

    def _one(self) -> bool:
        """Take one request; false when the client takes its leave."""
        magic, _flags, kind, handle, offset, length = REQUEST.unpack(self._take(REQUEST.size))
        if magic != ASKED or kind == WRITE:
            raise Broken("a write to what is read-only" if magic == ASKED else "no request")
        if kind == DISCONNECT:
            return False
        if kind == FLUSH:
            self._say(handle, 0)
        elif kind != READ:
            self._say(handle, _NOT_PERMITTED)
        elif not 0 < length <= LARGEST or offset + length > self._content.size:
            self._say(handle, _INVALID)
        elif file := self._content.get(offset, length):
            self._give(handle, file, offset, length)
        else:
            self._keep((handle, offset, length))
        return True

    def _keep(self, read: tuple[int, int, int]) -> None:
        with self._room:
            self._room.wait_for(lambda: len(self._waiting) < WAITING_AT_MOST or not self._open)
            self._waiting.append(read)
            self._room.notify_all()
        self._content.wake()  # its bytes may just have come

    def _late(self) -> None:
        """The thread that answers what had to wait."""
        seen = 0
        try:
            while True:
                with self._room:
                    self._room.wait_for(lambda: self._waiting or not self._open)
                    if not self._open:
                        return
                    waiting = list(self._waiting)
                for read in waiting:
                    handle, offset, length = read
                    if file := self._content.get(offset, length):
                        with self._room:
                            self._waiting.remove(read)
                            self._room.notify_all()
                        self._give(handle, file, offset, length)
                seen = self._content.wait(seen)
        except OSError as error:
            _log.info("export connection ended", why=str(error))
            self.close()

    def _say(self, handle: int, error: int) -> None:
        with self._sending:
            self._sock.sendall(ANSWER.pack(ANSWERED, error, handle))

    def _give(self, handle: int, file: BinaryIO, offset: int, length: int) -> None:
        end = offset + length
        with self._sending:
            self._sock.sendall(ANSWER.pack(ANSWERED, 0, handle), socket.MSG_MORE)
            while offset < end:
                sent = os.sendfile(self._sock.fileno(), file.fileno(), offset, end - offset)
                if not sent:
                    raise OSError("the file ends too early")
                offset += sent

    def _take(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = self._sock.recv(length - len(data))
            if not piece:
                raise Broken("the client went away")
            data += piece
        return bytes(data)


def _is_well_formed(data: bytes) -> bool:
    """Whether this is a name and a list of wanted information."""
    if len(data) < 6:
        return False
    name = int.from_bytes(data[:4], "big")
    wanted = int.from_bytes(data[4 + name : 6 + name], "big")
    return len(data) == 6 + name + 2 * wanted
