"""Events: read once from the database for everybody who listens, told to each who may know."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

from clc.web import audience
from clc.web.live import asgi
from clc.web.live.asgi import Receive, Scope, Send
from luhyaapi import log
from luhyaapi.errors import Refused, Unavailable, of
from luhyadb.models import Account, Event

POLL_S = 0.3
PROGRESS_EVERY_POLLS = 3
HOSTS_EVERY_POLLS = 33
LATE_S = 5.0
QUEUE_AT_MOST = 1000
BATCH_AT_MOST = 100
PER_ACCOUNT_AT_MOST = 20
RESUMED_AT_MOST = 10_000
_NUMBER = re.compile("[0-9]{1,18}")
_log = log.get(__name__)


class Listener:
    """One open event stream. ``ended`` is set when it must go: too slow, or the process stops."""

    def __init__(self, account: Account, upto: int) -> None:
        self.account = account
        self.upto = upto
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_AT_MOST)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """Have its stream closed; the browser comes again and resumes."""
        if not self.ended.done():
            self.ended.set_result(None)

    def put(self, message: bytes) -> None:
        """Queue a message; a listener that lags a whole queue behind is ended."""
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.end()


def _message(form: dict[str, Any], number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: message\ndata: {json.dumps(form, ensure_ascii=False)}\n\n".encode()


class Feed:
    """Reads new events once for everybody, while somebody listens."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._last = 0
        self._late: dict[int, float] = {}
        self._progress: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self._entry = asyncio.Lock()
        self._closed = False

    async def join(self, account: Account) -> Listener:
        """A new listener; it hears all after ``upto``. Raises Refused(quota), Unavailable(interrupted)."""
        if Counter(one.account.pk for one in self._listeners)[account.pk] >= PER_ACCOUNT_AT_MOST:
            raise Refused("quota", "Too many event streams", f"{PER_ACCOUNT_AT_MOST} are open already", hint="Close some pages.")
        async with self._entry:
            if self._task is None or self._task.done():
                self._last = await asgi.ask(audience.newest)
                self._task = asyncio.create_task(self._run())
            if self._closed:
                raise Unavailable("interrupted", "The console is stopping")
            listener = Listener(account, self._last)
            self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """It hears no more; after the last one nothing is read."""
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def serve(self, scope: Scope, account: Account, receive: Receive, send: Send) -> None:
        """One open stream of server-sent events, from ``Last-Event-ID`` or ``after`` on."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        asked = asgi.headers(scope).get("last-event-id") or query.get("after", [""])[0]
        number = int(asked) if _NUMBER.fullmatch(asked) else None
        listener = await self.join(account)
        after = listener.upto if number is None else max(min(number, listener.upto), listener.upto - RESUMED_AT_MOST)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [
                (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"), (b"x-content-type-options", b"nosniff"),
            ]})
            gone = await asgi.first_of(asgi.hang_up(receive), _write(scope, listener, after, send), also=listener.ended)
            if not gone:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.leave(listener)

    def close(self) -> None:
        """End every stream and take no more."""
        self._closed = True
        for listener in self._listeners:
            listener.end()

    async def _run(self) -> None:
        polls = 0
        while True:
            await asyncio.sleep(POLL_S)
            polls += 1
            try:
                await self._poll()
                if polls % PROGRESS_EVERY_POLLS == 0:
                    self._tell_progress(await asgi.ask(audience.progress, self._accounts()))
                if polls % HOSTS_EVERY_POLLS == 0:
                    self._tell_beat()
            except Exception as error:
                _log.warning("events cannot be read", why=str(of(error)))
                await asyncio.sleep(POLL_S * 10)

    async def _poll(self) -> None:
        now = asyncio.get_running_loop().time()
        late = await asgi.ask(audience.late_events, list(self._late))
        news = await asgi.ask(audience.events_after, self._last)
        told = await asgi.ask(audience.told, [*late, *news], self._accounts()) if late or news else []
        for event in late:
            self._late.pop(event.pk, None)
        for event in news:
            # with several writers a lower number may become visible a moment after a higher one
            self._late |= dict.fromkeys(range(max(self._last + 1, event.pk - 100), event.pk), now + LATE_S)
            self._last = event.pk
        for event, forms in told:
            self._tell(event, forms)
        self._late = {number: until for number, until in self._late.items() if until > now}

    def _accounts(self) -> list[Account]:
        """Who listens, each once."""
        return list({listener.account.pk: listener.account for listener in self._listeners}.values())

    def _tell(self, event: Event, forms: audience.Told) -> None:
        for listener in self._listeners:
            if event.noun == "user" and event.owner_id == listener.account.pk:
                listener.end()  # whoever may still listen comes again at once
            elif form := forms.get(listener.account.pk):
                listener.put(_message(form, event.pk))

    def _tell_progress(self, rows: list[tuple[dict[str, Any], frozenset[int]]]) -> None:
        before, self._progress = self._progress, {form["id"]: form["fields"] for form, _ in rows}
        for form, hearers in rows:
            if before.get(form["id"]) == form["fields"]:
                continue
            message = _message(form)
            for listener in self._listeners:
                if listener.account.pk in hearers:
                    listener.put(message)

    def _tell_beat(self) -> None:
        """Heartbeats are no events; pages that show when hosts were last heard look again now and then."""
        message = _message({"type": "host", "id": "all", "what": "beat", "fields": {}})
        for listener in self._listeners:
            if listener.account.is_admin:
                listener.put(message)


async def _write(scope: Scope, listener: Listener, after: int, send: Send) -> None:
    async def out(body: bytes) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": True})

    # an id without data is no event, and still what the browser resumes from
    await out(f"retry: 2000\nid: {after}\n\n".encode())
    while after < listener.upto and (rows := await asgi.ask(audience.events_after, after, listener.upto)):
        told = await asgi.ask(audience.told, rows, [listener.account])
        await out(b"".join(_message(form, event.pk) for event, forms in told for form in forms.values()) or b":\n\n")
        after = rows[-1].pk
    now = asyncio.get_running_loop().time
    beat = now() + asgi.HEARTBEAT_S
    while True:
        with contextlib.suppress(TimeoutError):
            # not wait_for: until Python 3.12 it may swallow our being cancelled
            async with asyncio.timeout_at(beat):
                batch = [await listener.queue.get()]
            while len(batch) < BATCH_AT_MOST and not listener.queue.empty():
                batch.append(listener.queue.get_nowait())
            await out(b"".join(batch))
        if now() >= beat:
            account = await asgi.account_of(scope)
            if account is None:
                return
            listener.account = account
            await out(b": beat\n\n")
            beat = now() + asgi.HEARTBEAT_S
