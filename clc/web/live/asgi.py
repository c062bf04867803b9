"""What everything that stays open has in common: the ASGI forms, questions to the database, who asks, errors."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from clc.services import origins
from clc.web import audience
from clc.web.rest import PROBLEM, form_of
from luhyaapi.contracts.vocabulary import Via
from luhyaapi.errors import CODES, Trouble
from luhyadb import memory
from luhyadb.models import Account

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")
HEARTBEAT_S = 15.0
"""How often an open line looks whether its account may still have it."""
BUFFER_BYTES = 64 * 1024


async def ask(function: Callable[..., T], *args: Any) -> T:
    """A question to the database, outside the loop."""

    def inside() -> T:
        with memory.thread_of("clc"):
            return function(*args)

    return await sync_to_async(inside)()


def headers(scope: Scope) -> dict[str, str]:
    """By lower-case name."""
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}


async def admitted(scope: Scope) -> Account:
    """Who asks, now, to read. Raises Refused(unauthenticated | password_change)."""
    return await ask(audience.admitted, headers(scope))


async def account_of(scope: Scope, *, reads: bool = True) -> Account | None:
    """Who asks, now; None for nobody, and for who may not do more than read when more is asked."""
    return await ask(functools.partial(audience.account_of, reads=reads), headers(scope))


def origin_of(scope: Scope, account: Account) -> origins.Origin:
    """Where what is done for an open line comes from."""
    return origins.Origin(Via.LIVE, str((scope.get("client") or ("",))[0]), asker=lambda: origins.Asker(account))


async def first_of(*jobs: Coroutine[Any, Any, Any], also: asyncio.Future[None] | None = None) -> Any:
    """Run jobs until the first ends, cancel the others; its result. Raises what it raised."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait([*tasks, *([also] if also else [])], return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def hang_up(receive: Receive) -> bool:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    return True


async def answer(send: Send, error: Trouble, status: int = 0) -> None:
    """An error as a problem document."""
    status = status or CODES[error.code].http
    body = json.dumps(form_of(error, status), ensure_ascii=False).encode()
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", PROBLEM.encode()), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store"),
    ]})
    await send({"type": "http.response.body", "body": body})
