"""Everything that stays open: events, screens, serial consoles, tunnels, console logs. The only asyncio of the project."""

from __future__ import annotations

import re

from django.conf import settings

from clc.services import origins
from clc.web.live import asgi, console_log
from clc.web.live.asgi import Receive, Scope, Send
from clc.web.live.door import Door
from clc.web.live.feed import Feed
from clc.web.live.screen import Screens
from luhyaapi.errors import Refused, Trouble
from luhyaapi.wire import tls

_SCREEN = re.compile(r"^/live/(?:screen|serial|tunnel)/([A-Za-z0-9_-]{16,64})/?$")
_LOG = re.compile(r"^/api/v1/instances/([A-Za-z0-9._-]{1,63})/log/?$")
_EVENTS = ("/api/v1/events", "/api/v1/events/")


class Live:
    """The ASGI application of what stays open; with ``lifespan`` it opens and closes the stream door."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.door = Door()
        self.screens = Screens(self.door)

    @staticmethod
    def serves(scope: Scope) -> bool:
        """Whether a request is ours and not the pages'."""
        if scope["type"] in ("websocket", "lifespan"):
            return True
        return scope["path"] in _EVENTS or bool(_LOG.match(scope["path"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            asked = _SCREEN.match(scope["path"])
            await self.screens.serve(scope, asked and asked[1], receive, send)
        else:
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        host = settings.EDUCLOUD.host
        try:
            await self.door.start(host.listen, host.stream_port, tls.doors(host))
        except OSError as error:
            await send({"type": "lifespan.startup.failed", "message": f"the stream door cannot be opened: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def stop(self) -> None:
        """End every stream and screen, and take no more; call it in the loop."""
        self.door.close()
        self.feed.close()
        self.screens.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "GET":
                await asgi.answer(send, Refused("invalid", "Only GET is possible here"), 405)
                return
            account = await asgi.admitted(scope)
            if asked := _LOG.match(scope["path"]):
                with origins.of(asgi.origin_of(scope, account)):
                    await console_log.serve(self.door, account, asked[1], receive, send)
            else:
                await self.feed.serve(scope, account, receive, send)
        except Trouble as error:
            await asgi.answer(send, error)


live = Live()
