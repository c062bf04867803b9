"""An HTTP server on loopback that says exactly what a test wants, byte for byte; and a canary nobody may contact."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable

from tests.support.small_server import SmallServer

HOME = "127.0.0.3"
"""Where the servers of a test live; the canary lives elsewhere."""


class Asked:
    """One request: its ``path``, its ``headers``, and the connection to answer on."""

    def __init__(self, connection, head):
        first, *lines = head.decode("latin-1").split("\r\n")
        self.path = first.split(" ")[1]
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
        self._connection = connection

    @property
    def start(self):
        """The byte from which on it wants the file."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def say(self, data):
        """Send raw bytes."""
        self._connection.sendall(data)

    def head(self, status=200, **headers):
        """Send the head of an answer: ``content_length=5`` is Content-Length."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.say("\r\n".join([f"HTTP/1.1 {status} x", "Connection: close", *lines, "", ""]).encode("latin-1"))

    def give(self, content, **headers):
        """A decent server's answer, with Range and If-Range."""
        start = self.start
        if start and self.headers.get("if-range") in (headers.get("etag"), headers.get("last_modified")):
            self.head(206, content_length=len(content) - start,
                      content_range=f"bytes {start}-{len(content) - 1}/{len(content)}", **headers)
        else:
            start = 0
            self.head(200, content_length=len(content), **headers)
        self.say(content[start:])


class SmallHttp(SmallServer):
    """``answer(asked)`` is called for each request; what was asked is in ``asked``."""

    def __init__(self, answer: Callable[[Asked], object], host=HOME, tls: ssl.SSLContext | None = None, port=0):
        self.answer, self.asked = answer, []
        self._tls = tls
        super().__init__(host, port)

    def url(self, path="/f", host=None, credentials=""):
        return f"{'https' if self._tls else 'http'}://{credentials}{host or self.host}:{self.port}{path}"

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            plain, connection = connection, self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with connection:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    more = connection.recv(4096)
                    if not more:
                        return
                    head += more
                asked = Asked(connection, head)
                self.asked.append(asked)
                self.answer(asked)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass
            plain.close()


class Canary:
    """Listens where nobody may knock; a knock stays in its queue, so ``silent()`` cannot miss one."""

    def __init__(self, host="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.host, self.port = host, self._socket.getsockname()[1]

    def silent(self):
        return not select.select([self._socket], [], [], 0)[0]

    def close(self):
        self._socket.close()
