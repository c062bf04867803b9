"""A guest's console log, fetched from its node through the stream door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from clc.services import instances, screens
from clc.web.live import asgi
from clc.web.live.asgi import Receive, Send
from clc.web.live.door import Door
from luhyadb.models import Account

AT_MOST_BYTES = 4 * 1024 * 1024
WITHIN_S = 20.0


async def pieces(door: Door, account: Account, ident: str, within_s: float = WITHIN_S) -> AsyncGenerator[bytes, None]:
    """What an instance wrote to its serial console, in pieces, at most 4 MiB.

    Raises Refused(not_found | state), Unavailable(host_silent).
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    stream = await asgi.ask(_open, account, ident)
    reader, writer = await door.wait(stream, within_s)
    left = AT_MOST_BYTES
    try:
        with contextlib.suppress(TimeoutError, ConnectionError):
            while left > 0 and (piece := await _read(reader, min(asgi.BUFFER_BYTES, left), until)):
                left -= len(piece)
                yield piece.replace(b"\0", b"")
    finally:
        writer.close()


async def serve(door: Door, account: Account, ident: str, receive: Receive, send: Send) -> None:
    """As plain text."""
    async with contextlib.aclosing(pieces(door, account, ident)) as found:
        first = await anext(found, b"")
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]})

        async def rest() -> None:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in found:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        await asgi.first_of(rest(), asgi.hang_up(receive))


async def _read(reader: asyncio.StreamReader, at_most: int, until: float) -> bytes:
    async with asyncio.timeout_at(until):
        return await reader.read(at_most)


def _open(account: Account, ident: str) -> str:
    row = instances.resolve(account, ident)
    return screens.hashed(screens.open_look(account, row.id, channel="log").stream)
