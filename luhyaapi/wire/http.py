"""A role's own door: a small, bounded web service with health, metrics and the routes the role adds."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from io import DEFAULT_BUFFER_SIZE
from typing import Any
from urllib.parse import parse_qsl

from cheroot import wsgi
from cheroot.makefile import StreamReader, StreamWriter
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl import Adapter
from prometheus_client import REGISTRY, Counter, generate_latest

from luhyaapi import log
from luhyaapi.errors import CODES, Refused, Trouble, Unavailable, of
from luhyaapi.wire.slowness import Slowness

_log = log.get(__name__)
_JSON_AT_MOST = 64 * 1024
_HEADERS_AT_MOST = 16 * 1024
_DRAIN_AT_MOST = 64 * 1024
_LINGER_AT_MOST = 1024 * 1024
_LINGER_S = 0.5
_SILENCE_S = 20
_HEADERS_WITHIN_S = 20.0
_IN_STEP, _IN_STEP_S = 64 * 1024, 20.0
_OUT_STEP_S = 60.0
_THREADS = 4
_THREADS_AT_MOST = 32
_WAITING_AT_MOST = 64
_PIECE = 256 * 1024
_LOOK_S = 2.0

_answered = Counter("educloud_http_answers", "Requests answered by a role's door", ("role", "route", "status"))


class _Secured(Adapter):
    """TLS of a door. The handshake happens in the thread that reads the request: a peer that is silent in it delays nobody."""

    _ENVIRON = {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(None, None)
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), self._ENVIRON

    def get_environ(self) -> dict[str, str]:
        return self._ENVIRON

    def makefile(self, sock: ssl.SSLSocket, mode: str = "r", bufsize: int = DEFAULT_BUFFER_SIZE) -> Any:
        return (StreamReader if "r" in mode else StreamWriter)(sock, mode, bufsize)


class Body:
    """The bytes of a request, read once, never more than announced. ``length`` in bytes."""

    def __init__(self, stream: Any, length: int, watched: Callable[[], AbstractContextManager[None]]) -> None:
        self._stream, self._watched = stream, watched
        self.length = self.remaining = length

    def read(self, size: int) -> bytes:
        """At most ``size`` and 64 KiB more bytes, empty at the end.

        Raises Unavailable(transfer) when the sender stops early, or sends slower than 64 KiB in 20 s.
        """
        wanted = min(size, self.remaining, _IN_STEP)
        if wanted <= 0:
            return b""
        try:
            with self._watched():
                data = bytes(self._stream.read(wanted))
        except OSError as e:
            raise Unavailable("transfer", "The sender stopped in the middle", str(e)) from e
        if not data:
            raise Unavailable("transfer", "The sender stopped in the middle", f"{self.remaining} bytes are missing")
        # fewer than wanted come only from a peer that ended or was cut off: the next read says so
        self.remaining -= len(data)
        return data


@dataclass(frozen=True)
class Request:
    """What a handler sees. ``params``: what the pattern's named groups matched; header names are in lower case."""

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body
    remote: str

    @property
    def ticket(self) -> str:
        """The ticket of the Authorization header. Raises Refused(unauthenticated)."""
        word, _, ticket = self.headers.get("authorization", "").partition(" ")
        if word.lower() != "ticket" or not ticket.strip():
            raise Refused("unauthenticated", "A ticket is needed", "the header is Authorization: Ticket <ticket>")
        return ticket.strip()

    def json(self) -> Any:
        """The body as JSON. Raises Refused(invalid)."""
        data = b""
        while self.body.remaining:
            data += self.body.read(_JSON_AT_MOST)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as e:
            raise Refused("invalid", "The request is not JSON", str(e)[:200]) from e


class Pieces:
    """A large body that is made while it is sent; ``count`` bytes in all, -1: as many as come.

    One that fails in the middle closes the connection, so that the other side knows.
    """

    def __init__(self, pieces: Iterator[bytes], count: int = -1) -> None:
        self.pieces, self.count = pieces, count

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        """No more of it is wanted."""
        close = getattr(self.pieces, "close", None)
        if close:
            close()


@dataclass
class Answer:
    """What a handler says. ``body``: bytes, or Pieces for large things."""

    status: int = 200
    body: bytes | Pieces = b""
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Answer]


@dataclass(frozen=True)
class Route:
    """Requests of ``method`` whose whole path matches ``pattern`` go to ``handler``, with at most ``body_at_most`` bytes."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    body_at_most: int = 0


def route(method: str, pattern: str, handler: Handler, *, body_at_most: int = 0) -> Route:
    """A route; ``pattern`` is a regular expression with named groups and must match the whole, decoded path."""
    return Route(method, re.compile(pattern, re.ASCII), handler, body_at_most)


def json_route(pattern: str, handler: Callable[[Any, Request], Any], *, method: str = "POST") -> Route:
    """A route for small JSON: ``handler(value, request)`` returns what is answered as JSON."""
    def handle(request: Request) -> Answer:
        return json_answer(handler(request.json() if method != "GET" else None, request))
    return route(method, pattern, handle, body_at_most=0 if method == "GET" else _JSON_AT_MOST)


def json_answer(value: Any, status: int = 200) -> Answer:
    """``value`` as JSON."""
    return Answer(status, json.dumps(value, ensure_ascii=False).encode(), "application/json")


def problem(trouble: Trouble) -> Answer:
    """An error as problem+json: the code, what, why and hint, with the code's status."""
    code = CODES[trouble.code]
    form = {
        "type": "about:blank", "title": code.title, "status": code.http,
        "detail": str(trouble), **trouble.wire(),
    }
    if trouble.family == "bug":
        form["why"] = form["detail"] = "Look at the log of this role."
    return Answer(code.http, json.dumps(form, ensure_ascii=False).encode(), "application/problem+json")


class Door:
    """The web service of one role, in threads of its own: at most 32 requests at once, 64 more waiting.

    ``ready()`` returns the reasons why the role cannot work now; none: it is ready. ``port`` 0 takes a free one.
    A peer that is silent or slow is cut off (headers in 20 s, 64 KiB in 20 s, 1 MiB out in 60 s); headers may take
    16 KiB, bodies what their route allows.
    """

    def __init__(
        self, role: str, host: str, port: int, routes: Sequence[Route],
        ready: Callable[[], Iterable[str]], secured: ssl.SSLContext | None = None,
    ) -> None:
        self.role = role
        self._ready = ready
        self._slowness = Slowness(f"slowness-{role}", _LOOK_S)
        self._routes = (
            route("GET", "/healthz", lambda _r: json_answer({"status": "ok", "role": role})),
            route("GET", "/readyz", self._readyz),
            route("GET", "/metrics", lambda _r: Answer(200, generate_latest(REGISTRY), "text/plain; version=0.0.4")),
            *routes,
        )
        self._server = _Server(
            (host, port), self._application, numthreads=_THREADS, max=_THREADS_AT_MOST, server_name=f"educloud-{role}",
            timeout=_SILENCE_S, request_queue_size=_WAITING_AT_MOST, accepted_queue_size=_WAITING_AT_MOST,
            shutdown_timeout=2,
        )
        self._server.gateway = _Gateway
        self._server.slowness = self._slowness
        self._server.version = self._server.software = "educloud"
        self._server.max_request_header_size = _HEADERS_AT_MOST
        self._server.max_request_body_size = max([_JSON_AT_MOST, *(r.body_at_most for r in routes)])
        self._server.error_log = self._log_error  # type: ignore[method-assign]
        if secured:
            self._server.ssl_adapter = _Secured(secured)
        self._thread = threading.Thread(target=self._server.serve, name=f"door-{role}", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return int(self._server.bind_addr[1])

    def start(self) -> Door:
        """Bind and serve. Raises Unavailable(busy) when the address is taken."""
        try:
            self._server.prepare()
        except OSError as e:
            raise Unavailable("busy", "The door cannot be opened", f"{self._server.bind_addr}: {e}") from e
        self._thread.start()
        self._slowness.start()
        return self

    def stop(self) -> None:
        """Let running requests end for 2 s, then close."""
        self._slowness.stop()
        self._server.stop()
        if self._thread.ident:
            self._thread.join(5)

    def _readyz(self, _request: Request) -> Answer:
        reasons = list(self._ready())
        return json_answer({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    def _application(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        body = Body(environ["wsgi.input"], _announced(environ), environ["educloud.watched"])
        chosen = None
        try:
            if body.length < 0:
                raise Refused("invalid", "The length of the request is not clear", "Content-Length must be one number")
            chosen, params = self._choose(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            if body.length > chosen.body_at_most:
                raise Refused("invalid", "The request is too large", f"at most {chosen.body_at_most} bytes are read here")
            answer = chosen.handler(_request(environ, params, body))
        except Exception as error:
            trouble = of(error)
            if trouble.family == "bug":
                _log.error("request failed", path=environ["PATH_INFO"][:200], why=str(error), exc_info=True)
            answer = problem(trouble)
        _answered.labels(self.role, chosen.pattern.pattern if chosen else "none", str(answer.status)).inc()
        if not _drained(body):
            environ["educloud.close"]()
        return _send(answer, environ["REQUEST_METHOD"], start_response)

    def _choose(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        for each in self._routes:
            if each.method == method or (method == "HEAD" and each.method == "GET"):
                found = each.pattern.fullmatch(path)
                if found:
                    return each, {name: value for name, value in found.groupdict().items() if value is not None}
        raise Refused("not_found", "There is nothing at this address", f"{method[:16]} {path[:200]!r}")

    def _log_error(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        _log.info("door", said=msg[:500], level=level, exc_info=traceback)


class _Asked(HTTPRequest):
    """cheroot's request, whose headers must come in time."""

    def parse_request(self) -> None:
        with self.server.slowness.within(self.conn.socket, _HEADERS_WITHIN_S):
            super().parse_request()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Asked


class _Server(wsgi.Server):
    ConnectionClass = _Connection
    slowness: Slowness


class _Gateway(wsgi.Gateway_10):
    """cheroot's WSGI gateway, with large bodies in pieces and with a way to close a connection whose body nobody wants."""

    _unread = False

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ["educloud.close"] = self._close_after
        environ["educloud.watched"] = lambda: self.req.server.slowness.within(self.req.conn.socket, _IN_STEP_S)
        return environ

    def respond(self) -> None:
        response = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            if isinstance(response, Pieces):
                self._send_pieces(response.pieces)
            else:
                for chunk in response:
                    self.write(chunk)
        finally:
            self.req.ensure_headers_sent()
            with contextlib.suppress(AttributeError):
                response.close()

        if self._unread:
            self._linger()

    def _send_pieces(self, pieces: Iterator[bytes]) -> None:
        try:
            for piece in pieces:
                with self.req.server.slowness.within(self.req.conn.socket, _OUT_STEP_S):
                    self.write(piece)
        except Trouble as trouble:
            _log.warning("answer broken off", code=trouble.code, why=trouble.why)
            # only a connection that closes before the end tells the other side
            self.req.close_connection, self.req.chunked_write = True, False

    def _close_after(self) -> None:
        self._unread = self.req.close_connection = True

    def _linger(self) -> None:
        """Read a little of what still comes: closing at once would take the answer away from a client that is sending."""
        sock, left = self.req.conn.socket, _LINGER_AT_MOST
        with contextlib.suppress(OSError, ValueError):
            self.req.conn.wfile.flush()
            sock.settimeout(_LINGER_S)
            sock.shutdown(socket.SHUT_WR)
            while left > 0 and (data := sock.recv(_PIECE)):
                left -= len(data)


def _announced(environ: Mapping[str, Any]) -> int:
    """The announced length of the body; -1 when it is not one plain number."""
    length = environ.get("CONTENT_LENGTH") or "0"
    chunked = environ.get("HTTP_TRANSFER_ENCODING")
    return int(length) if re.fullmatch("[0-9]{1,18}", length) and not chunked else -1


def _request(environ: Mapping[str, Any], params: Mapping[str, str], body: Body) -> Request:
    headers = {n[5:].replace("_", "-").lower(): str(v) for n, v in environ.items() if n.startswith("HTTP_")}
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), max_num_fields=32))
    return Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], params, query, headers, body, environ["REMOTE_ADDR"])


def _drained(body: Body) -> bool:
    """Read what is left of a small body, so that the connection can go on; false when it must be closed instead."""
    if not 0 <= body.remaining <= _DRAIN_AT_MOST:
        return False
    try:
        while body.read(_PIECE):
            pass
    except Unavailable:
        return False
    return True


def _send(answer: Answer, method: str, start_response: Callable[..., object]) -> Iterable[bytes]:
    length = answer.body.count if isinstance(answer.body, Pieces) else len(answer.body)
    headers = {
        "Content-Type": answer.content_type, **({"Content-Length": str(length)} if length >= 0 else {}),
        "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **answer.headers,
    }
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(headers.items()))
    if method == "HEAD":
        if isinstance(answer.body, Pieces):
            answer.body.close()
        return ()
    if isinstance(answer.body, Pieces):
        return answer.body
    return (answer.body,) if answer.body else ()
