"""The web process: what stays open goes to ``clc.web.live``, everything else to the pages and the API."""

from __future__ import annotations

import os
import warnings
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")

from django.core.asgi import get_asgi_application

# static files are small and read at once; that they are is no news
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
_pages = get_asgi_application()

from clc.web.live import Receive, Scope, Send, live  # noqa: E402 - the models must be ready first


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Served by one uvicorn worker: event streams and screens are counted per process."""
    app: Any = live if live.serves(scope) else _pages
    await app(scope, receive, send)
