"""Everything that stays open: events, screens, console logs. The only asyncio of the project."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings

from clc.services import instances, screens
from clc.web import audience
from clc.web.rest import PROBLEM, form_of
from luhyaapi import log
from luhyaapi.errors import CODES, Refused, Trouble, Unavailable, of
from luhyaapi.wire import stream as wire
from luhyaapi.wire import tls
from luhyadb import memory
from luhyadb.models import Account, Event

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
T = TypeVar("T")

POLL_S = 0.3
PROGRESS_EVERY_POLLS = 3
HOSTS_EVERY_POLLS = 33
HEARTBEAT_S = 15.0
LATE_S = 5.0
QUEUE_AT_MOST = 1000
BATCH_AT_MOST = 100
PER_ACCOUNT_AT_MOST = 20
RESUMED_AT_MOST = 10_000
SCREENS_AT_MOST = 256
UNMATCHED_AT_MOST = 64
DIAL_WITHIN_S = 20.0
BROWSER_WITHIN_S = 9.0
IDLE_S = 1800.0
LOG_BYTES_AT_MOST = 4 * 1024 * 1024
LOG_WITHIN_S = 20.0
_BUFFER = 64 * 1024
_SCREEN = re.compile(r"^/live/screen/([A-Za-z0-9_-]{16,64})/?$")
_LOG = re.compile(r"^/api/v1/instances/([A-Za-z0-9._-]{1,63})/log/?$")
_NUMBER = re.compile("[0-9]{1,18}")
_EVENTS = ("/api/v1/events", "/api/v1/events/")
NOT_SIGNED_IN, NO_TICKET, NO_NODE, FAULT, DONE = 4401, 4403, 4408, 1011, 1000
_log = log.get(__name__)


async def _ask(function: Callable[..., T], *args: Any) -> T:
    """A question to the database, outside the loop."""

    def inside() -> T:
        with memory.thread_of("clc"):
            return function(*args)

    return await sync_to_async(inside)()


def _headers(scope: Scope) -> dict[str, str]:
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}


async def _account(scope: Scope) -> Account | None:
    return await _ask(audience.account_of, _headers(scope))


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
                self._last = await _ask(audience.newest)
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
                    self._tell_progress(await _ask(audience.progress))
                if polls % HOSTS_EVERY_POLLS == 0:
                    self._tell_beat()
            except Exception as error:
                _log.warning("events cannot be read", why=str(of(error)))
                await asyncio.sleep(POLL_S * 10)

    async def _poll(self) -> None:
        now = asyncio.get_running_loop().time()
        for event in await _ask(audience.late_events, list(self._late)):
            self._late.pop(event.pk, None)
            self._tell(event)
        for event in await _ask(audience.events_after, self._last):
            # with several writers a lower number may become visible a moment after a higher one
            self._late |= dict.fromkeys(range(max(self._last + 1, event.pk - 100), event.pk), now + LATE_S)
            self._last = event.pk
            self._tell(event)
        self._late = {number: until for number, until in self._late.items() if until > now}

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            if event.noun == "user" and event.owner_id == listener.account.pk:
                listener.end()  # whoever may still listen comes again at once
                continue
            form = audience.told(listener.account, event)
            if form is not None:
                listener.put(_message(form, event.pk))

    def _tell_progress(self, rows: list[tuple[int | None, dict[str, Any]]]) -> None:
        before, self._progress = self._progress, {form["id"]: form["fields"] for _, form in rows}
        for owner, form in rows:
            if before.get(form["id"]) == form["fields"]:
                continue
            message = _message(form)
            for listener in self._listeners:
                if listener.account.is_admin or listener.account.pk == owner:
                    listener.put(message)


    def _tell_beat(self) -> None:
        """Heartbeats are no events; pages that show when hosts were last heard look again now and then."""
        message = _message({"type": "host", "id": "all", "what": "beat", "fields": {}})
        for listener in self._listeners:
            if listener.account.is_admin:
                listener.put(message)


class _Seat:
    """Where a browser and a dial of the same stream meet."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.dialled: asyncio.Future[Line] = asyncio.get_running_loop().create_future()


class Door:
    """The stream door of the CLC, spoken as ``luhyaapi.wire.stream`` says."""

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
        """The node's line of a stream, by the hash of its secret. Raises Unavailable(host_silent)."""
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
        stream = await _ask(audience.expected_stream, _secret_of(line))
        if stream is None or not self._take(stream):
            raise Refused("forbidden", "Nobody announced this stream", "it is unknown, used up or too old")
        seat = self._seats.setdefault(stream, _Seat())
        try:
            async with asyncio.timeout(BROWSER_WITHIN_S):
                await seat.wanted.wait()
        except TimeoutError:
            self._seats.pop(stream, None)
            raise
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


def _secret_of(line: bytes) -> str:
    try:
        hello = json.loads(line) if len(line) <= wire.HELLO_AT_MOST else None
    except (ValueError, RecursionError):
        hello = None
    if not isinstance(hello, dict) or hello.get("v") != wire.VERSION or not isinstance(hello.get("stream"), str):
        raise Refused("invalid", "The hello of a stream cannot be read")
    return str(hello["stream"])


async def _first_of(*jobs: Coroutine[Any, Any, Any], also: asyncio.Future[None] | None = None) -> Any:
    """Run jobs until the first ends, cancel the others; its result. Raises what it raised."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait([*tasks, *([also] if also else [])], return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hang_up(receive: Receive) -> bool:
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


class Live:
    """The ASGI application of what stays open; with ``lifespan`` it opens and closes the stream door."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.door = Door()
        self._screens: set[asyncio.Future[None]] = set()

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
            await self._screen(scope, receive, send)
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
        for ended in self._screens:
            if not ended.done():
                ended.set_result(None)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "GET":
                await answer(send, Refused("invalid", "Only GET is possible here"), 405)
                return
            account = await _account(scope)
            if account is None:
                raise Refused("unauthenticated", "Sign in first")
            if asked := _LOG.match(scope["path"]):
                await self._log(account, asked[1], receive, send)
            else:
                await self._events(scope, account, receive, send)
        except Trouble as error:
            await answer(send, error)

    async def _events(self, scope: Scope, account: Account, receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        asked = _headers(scope).get("last-event-id") or query.get("after", [""])[0]
        number = int(asked) if _NUMBER.fullmatch(asked) else None
        listener = await self.feed.join(account)
        after = listener.upto if number is None else max(min(number, listener.upto), listener.upto - RESUMED_AT_MOST)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [
                (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"), (b"x-content-type-options", b"nosniff"),
            ]})
            gone = await _first_of(_hang_up(receive), self._write(scope, listener, after, send), also=listener.ended)
            if not gone:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.feed.leave(listener)

    async def _write(self, scope: Scope, listener: Listener, after: int, send: Send) -> None:
        async def out(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        # an id without data is no event, and still what the browser resumes from
        await out(f"retry: 2000\nid: {after}\n\n".encode())
        while after < listener.upto and (rows := await _ask(audience.events_after, after, listener.upto)):
            forms = [(row.pk, audience.told(listener.account, row)) for row in rows]
            await out(b"".join(_message(form, number) for number, form in forms if form is not None) or b":\n\n")
            after = rows[-1].pk
        now = asyncio.get_running_loop().time
        beat = now() + HEARTBEAT_S
        while True:
            with contextlib.suppress(TimeoutError):
                # not wait_for: until Python 3.12 it may swallow our being cancelled
                async with asyncio.timeout_at(beat):
                    batch = [await listener.queue.get()]
                while len(batch) < BATCH_AT_MOST and not listener.queue.empty():
                    batch.append(listener.queue.get_nowait())
                await out(b"".join(batch))
            if now() >= beat:
                account = await _account(scope)
                if account is None:
                    return
                listener.account = account
                await out(b": beat\n\n")
                beat = now() + HEARTBEAT_S

    async def console_log(self, account: Account, ident: str, within_s: float = LOG_WITHIN_S) -> AsyncGenerator[bytes, None]:
        """What an instance wrote to its serial console, in pieces, at most 4 MiB.

        Raises Refused(not_found | state), Unavailable(host_silent).
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        stream = await _ask(_open_log, account, ident)
        reader, writer = await self.door.wait(stream, within_s)
        left = LOG_BYTES_AT_MOST
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                while left > 0 and (piece := await _read(reader, min(_BUFFER, left), until)):
                    left -= len(piece)
                    yield piece.replace(b"\0", b"")
        finally:
            writer.close()

    async def _log(self, account: Account, ident: str, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self.console_log(account, ident)) as pieces:
            first = await anext(pieces, b"")
            await send({"type": "http.response.start", "status": 200, "headers": [
                (b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"),
                (b"cache-control", b"no-store"),
            ]})

            async def rest() -> None:
                await send({"type": "http.response.body", "body": first, "more_body": True})
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})

            await _first_of(rest(), _hang_up(receive))

    async def _screen(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asked = _SCREEN.match(scope["path"])
        if asked is None or not _same_origin(_headers(scope)):
            await send({"type": "websocket.close", "code": NO_TICKET})
            return
        offered = "binary" if "binary" in scope.get("subprotocols", ()) else None
        # accepted before it is judged: a browser shows code and reason only of an open socket
        await send({"type": "websocket.accept", "subprotocol": offered})
        code, reason = await self._look(scope, asked[1], receive, send)
        if code:
            with contextlib.suppress(OSError, RuntimeError):
                await send({"type": "websocket.close", "code": code, "reason": reason.encode()[:120].decode(errors="ignore")})

    async def _look(self, scope: Scope, ticket: str, receive: Receive, send: Send) -> tuple[int, str]:
        """Show a screen until it ends: close code and reason, code 0 when the browser went."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            account = await _account(scope)
            if account is None:
                return NOT_SIGNED_IN, "Sign in first"
            if len(self._screens) >= SCREENS_AT_MOST:
                return FAULT, "Too many screens are open"
            self._screens.add(ended)
            row = await _ask(screens.redeem, ticket, account)
            line = await self.door.wait(row.stream, DIAL_WITHIN_S)
            try:
                result = await _first_of(_down(receive, line[1], m := _Moved()), _up(send, line[0], m), _watch(scope, m), also=ended)
                return result or (DONE, "The console is stopping")
            finally:
                line[1].close()
        except Refused as error:
            return NO_TICKET, error.what
        except Unavailable as error:
            return NO_NODE, error.what
        except Exception as error:
            _log.warning("screen broke", why=str(error), exc_info=not isinstance(error, OSError))
            return FAULT, "The line to the node broke"
        finally:
            self._screens.discard(ended)


async def _read(reader: asyncio.StreamReader, at_most: int, until: float) -> bytes:
    async with asyncio.timeout_at(until):
        return await reader.read(at_most)


def _open_log(account: Account, ident: str) -> str:
    row = instances.resolve(account, ident)
    return screens.hashed(screens.open_look(account, row.id, channel="log").stream)


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
    while piece := await reader.read(_BUFFER):
        await send({"type": "websocket.send", "bytes": piece})
        moved.tick()
    return DONE, "The screen ended"


async def _watch(scope: Scope, moved: _Moved) -> tuple[int, str]:
    while asyncio.get_running_loop().time() - moved.at < IDLE_S:
        await asyncio.sleep(HEARTBEAT_S)
        if await _account(scope) is None:
            return NOT_SIGNED_IN, "Signed out"
    return DONE, "Nothing moved for half an hour"


live = Live()
