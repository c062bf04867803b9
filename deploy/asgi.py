"""The web process: what stays open goes to ``clc.web.live``, everything else to the pages and the API."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

from luhyaapi.errors import CODES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")

from django.core.asgi import get_asgi_application

# static files are small and read at once; that they are is no news
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
_pages = get_asgi_application()

from clc.web.live import live  # noqa: E402 - the models must be ready first
from clc.web.live.asgi import Receive, Scope, Send  # noqa: E402

# Bytes; the largest piece of an upload is 16 MiB. Django keeps a whole body before anybody asks who sends it.
BODY_AT_MOST = 17 * 1024 * 1024


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Served by one uvicorn worker: event streams and screens are counted per process."""
    app: Any = live if live.serves(scope) else _pages
    if scope["type"] == "http" and _announced(scope) > BODY_AT_MOST:
        await _refuse(send)
        return
    await app(scope, receive, send)


def _announced(scope: Scope) -> int:
    """The length a request announces; one that announces none and has a body counts as too long."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return BODY_AT_MOST + 1
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else BODY_AT_MOST + 1


async def _refuse(send: Send) -> None:
    form = {"type": "about:blank", "title": CODES["invalid"].title, "status": 413, "code": "invalid",
            "what": "The request is too large", "why": f"at most {BODY_AT_MOST} bytes, announced by Content-Length",
            "hint": "Send large files in pieces; the command line client does."}
    headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(form).encode()})
