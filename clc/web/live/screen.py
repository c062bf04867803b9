"""A guest's screen, or its serial console, in the browser: one WebSocket, let in by a one-time ticket, joined with the line its node dialled."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import translation

from clc.services import screens
from clc.services.sentences import said
from clc.web import audience
from clc.web.live import asgi
from clc.web.live.asgi import Receive, Scope, Send
from clc.web.live.door import Door
from luhyaapi import log
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable

AT_MOST = 256
REASON_AT_MOST = 120
"""Bytes of a close's reason; the protocol has room for 123."""
OF_ONE_AT_MOST = 64
"""Open lines of all kinds to one instance; a class may look at its teacher's machine."""
DIAL_WITHIN_S = 20.0
IDLE_S = 1800.0
ENDED_EVERY_S = 0.5
"""How often is looked for sign-ins and rights that ended."""
NOT_SIGNED_IN, NO_TICKET, NO_NODE, FAULT, DONE = 4401, 4403, 4408, 1011, 1000
_log = log.get(__name__)


class Screens:
    """All open screens of this process."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._open: dict[asyncio.Future[None], str] = {}
        """Each with its instance, once that is known."""
        self._knocks: dict[asyncio.Event, int] = {}
        """What has an open line look at once whose it is, with its account."""
        self._task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End every one."""
        for ended in self._open:
            if not ended.done():
                ended.set_result(None)

    async def serve(self, scope: Scope, ticket: str | None, receive: Receive, send: Send) -> None:
        """One WebSocket from its handshake to its end."""
        await receive()
        if ticket is None or not _same_origin(asgi.headers(scope)):
            await send({"type": "websocket.close", "code": NO_TICKET})
            return
        offered = "binary" if "binary" in scope.get("subprotocols", ()) else None
        # accepted before it is judged: a browser shows code and reason only of an open socket
        await send({"type": "websocket.accept", "subprotocol": offered})
        code, reason = await self._look(scope, ticket, receive, send)
        if code:
            with contextlib.suppress(OSError, RuntimeError):
                await send({"type": "websocket.close", "code": code, "reason": reason.encode()[:REASON_AT_MOST].decode(errors="ignore")})

    async def _look(self, scope: Scope, ticket: str, receive: Receive, send: Send) -> tuple[int, str]:
        """Show a screen until it ends: close code and reason, code 0 when the browser went."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        knock, tongue = asyncio.Event(), settings.LANGUAGE_CODE
        try:
            account = await asgi.account_of(scope, reads=False)
            if account is None:
                return NOT_SIGNED_IN, "Sign in first"
            tongue = account.language or settings.LANGUAGE_CODE
            if len(self._open) >= AT_MOST:
                return FAULT, "Too many screens are open"
            self._open[ended] = ""
            row = await asgi.ask(screens.redeem, ticket, account)
            if list(self._open.values()).count(row.instance_id) >= OF_ONE_AT_MOST:
                raise Refused("quota", "Too many lines to this instance are open", f"at most {OF_ONE_AT_MOST} can")
            self._open[ended] = row.instance_id
            self._listen(knock, account.pk)
            line = await self._door.wait(row.stream, DIAL_WITHIN_S)
            try:
                moved = _Moved()
                result = await asgi.first_of(
                    _down(receive, line[1], moved), _up(send, line[0], moved), _watch(scope, row.instance_id, moved, knock), also=ended)
                return result or (DONE, "The console is stopping")
            finally:
                line[1].close()
        except Refused as error:
            return NO_TICKET, _reason(tongue, error)
        except (Unavailable, Failed) as error:
            return NO_NODE, _reason(tongue, error)
        except Exception as error:
            _log.warning("screen broke", why=str(error), exc_info=not isinstance(error, OSError))
            return FAULT, "The line to the node broke"
        finally:
            self._open.pop(ended, None)
            self._leave(knock)

    def _listen(self, knock: asyncio.Event, account: int) -> None:
        self._knocks[knock] = account
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._knock())

    def _leave(self, knock: asyncio.Event) -> None:
        self._knocks.pop(knock, None)
        if not self._knocks and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _knock(self) -> None:
        """While lines are open: whoever's sign-ins or rights changed is asked again at once, one question for all of them."""
        changed = audience.Changed(await asgi.ask(audience.newest))
        while True:
            await asyncio.sleep(ENDED_EVERY_S)
            try:
                changed = await asgi.ask(audience.changed, changed.upto)
            except Exception as error:
                _log.warning("ended sign-ins cannot be read", why=str(error))
                continue
            for knock, account in self._knocks.items():
                if changed.everybody or account in changed.accounts:
                    knock.set()


def _reason(tongue: str, error: Trouble) -> str:
    """What went wrong and on a second line why, in the reader's language; the first alone where both are too long."""
    with translation.override(tongue):
        what, why = said(error.what), said(error.why)
    both = f"{what}\n{why}" if why else what
    return both if len(both.encode()) <= REASON_AT_MOST else what


def _same_origin(headers: dict[str, str]) -> bool:
    """Whether our own page asks; what sends no cookie needs no origin."""
    origin = headers.get("origin")
    if origin is None:
        return "authorization" in headers
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


class _Moved:
    """When a byte moved last."""

    def __init__(self) -> None:
        self.tick()

    def tick(self) -> None:
        self.at = asyncio.get_running_loop().time()


async def _down(receive: Receive, writer: asyncio.StreamWriter, moved: _Moved) -> tuple[int, str]:
    while (event := await receive())["type"] == "websocket.receive":
        writer.write(event.get("bytes") or (event.get("text") or "").encode())
        await writer.drain()
        moved.tick()
    return 0, ""


async def _up(send: Send, reader: asyncio.StreamReader, moved: _Moved) -> tuple[int, str]:
    while piece := await reader.read(asgi.BUFFER_BYTES):
        await send({"type": "websocket.send", "bytes": piece})
        moved.tick()
    return DONE, "The line ended"


async def _watch(scope: Scope, instance: str, moved: _Moved, knock: asyncio.Event) -> tuple[int, str]:
    while asyncio.get_running_loop().time() - moved.at < IDLE_S:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(asgi.HEARTBEAT_S):
                await knock.wait()
        knock.clear()
        try:
            await asgi.ask(audience.still, asgi.headers(scope), instance)
        except Refused as error:
            if error.code != "unauthenticated":
                raise
            return NOT_SIGNED_IN, error.what
    return DONE, "Nothing moved for half an hour"
