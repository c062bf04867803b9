"""The little of HTTP a guest needs to ask about itself: bounded in size, time and number, one thread for all guests."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from http import HTTPStatus

from luhyaapi import log
from nc.drivers.metadata_base import Answer, Question, Told

_log = log.get(__name__)
HEAD_AT_MOST = 8192
"""Bytes of a request before its body."""
_BODY_AT_MOST = 1024
PER_GUEST, IN_ALL = 8, 256
"""So many connections at once."""
WITHIN_S = 5.0
"""A request shall be there by then, and its answer be taken by then."""
_STARTS_WITHIN_S = 10.0


class MetadataHttp:
    """Listening sockets by the bridge they are for. One request a connection; who asks is known by bridge and source address."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._now: Counter[tuple[str, str]] = Counter()
        self._servers: dict[str, asyncio.Server] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="metadata", daemon=True)
        self._thread.start()

    def open(self, bridge: str, listening: socket.socket) -> None:
        """Answer there; the socket is ours from now on."""
        asyncio.run_coroutine_threadsafe(self._open(bridge, listening), self._loop).result(_STARTS_WITHIN_S)

    def close(self, bridge: str) -> None:
        """Answer there no more."""
        if server := self._servers.pop(bridge, None):
            self._loop.call_soon_threadsafe(server.close)

    def stop(self) -> None:
        """End the thread."""
        for bridge in [*self._servers]:
            self.close(bridge)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STARTS_WITHIN_S)
        self._loop.close()

    async def _open(self, bridge: str, listening: socket.socket) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(bridge, reader, writer)

        self._servers[bridge] = await asyncio.start_server(serve, sock=listening, limit=HEAD_AT_MOST)

    async def _serve(self, bridge: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = bridge, str((writer.get_extra_info("peername") or ("",))[0])
        if self._now[who] >= PER_GUEST or self._now.total() >= IN_ALL:
            writer.transport.abort()
            return
        self._now[who] += 1
        try:
            await asyncio.wait_for(self._talk(who, reader, writer), 2 * WITHIN_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()  # it went away, or is too slow
        finally:
            self._now[who] -= 1
            if not self._now[who]:
                del self._now[who]
            writer.close()

    async def _talk(self, who: tuple[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = ""
        try:
            question = _parsed(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN_S))
            method = question.method
            if size := int(question.headers.get("content-length", "0")):
                if not 0 < size <= _BODY_AT_MOST:
                    raise ValueError("a body")
                await asyncio.wait_for(reader.readexactly(size), WITHIN_S)  # nothing that can be asked has one
            answer = self._told(*who, question)
        except asyncio.LimitOverrunError:
            answer = Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except ValueError:
            answer = Answer(HTTPStatus.BAD_REQUEST)
        writer.write(_rendered(answer, has_body=method != "HEAD"))
        await asyncio.wait_for(writer.drain(), WITHIN_S)
        writer.write_eof()
        # What is still unread would have the kernel reset the connection, and the guest lose what it has not read yet.
        await reader.read(HEAD_AT_MOST)


def _parsed(head: bytes) -> Question:
    """Raises ValueError for what is no request, and for anything by which two readers could understand two different ones."""
    first, *lines = head.decode("ascii")[:-4].split("\r\n")
    method, target, version = first.split(" ")
    if version not in ("HTTP/1.0", "HTTP/1.1") or not target.startswith("/") or not target.isprintable():
        raise ValueError(first)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or name in headers or not value.replace("\t", " ").isprintable():
            raise ValueError(line)
        headers[name] = value.strip()
    if "transfer-encoding" in headers or not headers.get("content-length", "0").isdigit():
        raise ValueError("a body of unknown size")
    return Question(method, target.partition("?")[0], headers)


def _rendered(answer: Answer, *, has_body: bool) -> bytes:
    body = answer.text.encode()
    lines = [
        f"HTTP/1.1 {int(answer.status)} {HTTPStatus(answer.status).phrase}", f"Content-Type: {answer.kind}", f"Content-Length: {len(body)}",
        "Server: EC2ws", "Connection: close", *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (body if has_body else b"")
