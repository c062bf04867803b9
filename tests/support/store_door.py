"""The image store's real routes behind an httpx transport: no socket, no server."""

import io
import types
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from clc.services.own import own
from luhyaapi.errors import Refused, Trouble
from luhyaapi.wire.http import Answer, Pieces, Request, problem
from tests.support import image_store
from walrus import door
from walrus.services.library import Library


class Sent(io.BytesIO):
    """The body of a request as a door hands it on."""

    @property
    def length(self) -> int:
        return len(self.getvalue())

    @property
    def remaining(self) -> int:
        return self.length - self.tell()


def transport(routes) -> httpx.MockTransport:
    """A way to ``routes``."""

    def handle(asked: httpx.Request) -> httpx.Response:
        try:
            answer = _answer(routes, asked)
        except Trouble as trouble:
            answer = problem(trouble)
        body = b"".join(answer.body) if isinstance(answer.body, Pieces) else answer.body
        headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body)), **answer.headers}
        return httpx.Response(answer.status, stream=httpx.ByteStream(body), headers=headers)

    return httpx.MockTransport(handle)


def _answer(routes, asked: httpx.Request) -> Answer:
    path = urlsplit(str(asked.url)).path
    for each in routes:
        found = each.pattern.fullmatch(path)
        if found and each.method == asked.method:
            body = Sent(asked.read())
            if body.length > each.body_at_most:
                raise Refused("invalid", "The request is too large")
            return each.handler(Request(asked.method, path, found.groupdict(), dict(asked.url.params), dict(asked.headers), body, "127.0.0.1"))
    raise Refused("not_found", "There is nothing at this address")


def behind_api(folder: Path) -> tuple[httpx.MockTransport, Library]:
    """The way from the API to an image store, and what lies behind it. For ``clc.web.api.store.transport``."""
    kept = image_store.opened(folder / "store")
    membership = types.SimpleNamespace(boss_certificate=own().membership.certificate, authority=own().authority)
    settings = types.SimpleNamespace(host=types.SimpleNamespace(listen="127.0.0.1", door_port=0, tls=False))
    agent = types.SimpleNamespace(membership=membership, settings=settings, up=None)
    library = Library(folder, kept)
    return transport(door.make(types.SimpleNamespace(agent=agent, library=library, store=kept))._routes), library
