"""The stream door of the CLC, spoken as ``luhyaapi.wire.stream`` says: where a browser and a dial of its node meet."""

from __future__ import annotations

import asyncio
import json
import ssl

from clc.services import screens
from clc.web import audience
from clc.web.live import asgi
from luhyaapi import log
from luhyaapi.errors import Refused, Trouble, Unavailable
from luhyaapi.wire import stream as wire

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
UNMATCHED_AT_MOST = 64
BROWSER_WITHIN_S = 9.0
_log = log.get(__name__)


class _Seat:
    """Where a browser and a dial of the same stream meet."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.dialled: asyncio.Future[Line] = asyncio.get_running_loop().create_future()


class Door:
    """Dials come in, each matched by its stream's secret with who waits for it."""

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}
        self._taken: dict[str, float] = {}
        self._unmatched = 0
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 while closed."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else 0

    async def start(self, host: str, port: int, secured: ssl.SSLContext | None = None) -> None:
        """Bind and serve. Raises OSError when the address is taken."""
        self._server = await asyncio.start_server(
            self._serve, host, port, backlog=UNMATCHED_AT_MOST, ssl=secured,
            ssl_handshake_timeout=wire.HELLO_WITHIN_S if secured else None,
        )

    def close(self) -> None:
        """Take no more dials."""
        if self._server:
            self._server.close()
            self._server = None

    async def wait(self, stream: str, within_s: float) -> Line:
        """The node's line of a stream, by the hash of its secret. Raises Unavailable(host_silent), or what the node says why not."""
        if self._server is None:
            raise Unavailable("host_silent", "The stream door is not open", "the console is starting or stopping")
        seat = self._seats.setdefault(stream, _Seat())
        seat.wanted.set()
        try:
            async with asyncio.timeout(within_s):
                return await seat.dialled
        except TimeoutError:
            raise Unavailable("host_silent", "The node did not answer", f"no stream came within {within_s:.0f} s") from None
        finally:
            self._seats.pop(stream, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._unmatched >= UNMATCHED_AT_MOST:
                raise Refused("quota", "Too many unmatched streams")
            self._unmatched += 1
            try:
                await self._match(reader, writer)
            finally:
                self._unmatched -= 1
        except (Trouble, OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.info("stream refused", peer=str(writer.get_extra_info("peername")), why=str(error))
            writer.close()

    async def _match(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(wire.HELLO_WITHIN_S):
            line = await reader.readuntil(b"\n")
        secret, trouble = _said_in(line)
        stream = await asgi.ask(audience.expected_stream, secret)
        if stream is None or not self._take(stream):
            raise Refused("forbidden", "Nobody announced this stream", "it is unknown, used up or too old")
        seat = self._seats.setdefault(stream, _Seat())
        try:
            async with asyncio.timeout(BROWSER_WITHIN_S):
                await seat.wanted.wait()
        except TimeoutError:
            self._seats.pop(stream, None)
            raise
        if trouble:
            if not seat.dialled.done():
                seat.dialled.set_exception(trouble)
            raise trouble
        writer.write(b"ok\n")
        await writer.drain()
        if seat.dialled.done():
            raise Refused("forbidden", "The browser went away")
        seat.dialled.set_result((reader, writer))

    def _take(self, stream: str) -> bool:
        """Whether this is the first dial of a stream."""
        now = asyncio.get_running_loop().time()
        self._taken = {s: until for s, until in self._taken.items() if until > now}
        if stream in self._taken:
            return False
        self._taken[stream] = now + 2 * screens.LIFE_S
        return True


def _said_in(line: bytes) -> tuple[str, Trouble | None]:
    """The secret a dialler names, and why it has nothing to offer if so."""
    try:
        hello = json.loads(line) if len(line) <= wire.HELLO_AT_MOST else None
    except (ValueError, RecursionError):
        hello = None
    if not isinstance(hello, dict) or hello.get("v") != wire.VERSION or not isinstance(hello.get("stream"), str):
        raise Refused("invalid", "The hello of a stream cannot be read")
    return str(hello["stream"]), wire.error_of(hello)
