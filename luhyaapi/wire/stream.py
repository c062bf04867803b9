r"""One byte stream for screens, consoles and logs, dialled outward hop by hop.

Nobody below the CLC is ever dialled for a stream: the node dials its boss, and that boss its own. The wire, per hop:

- The dialler connects by TCP to the stream door of its boss and sends one line of JSON, at most 1 KiB, ended by ``\n``::

      {"stream": "<secret>", "host": "<id of the dialling host>", "v": 1}

  and nothing more before the answer. A dialler that has nothing to offer says so at once by ``"error": {"code", "what", "why",
  "hint"}`` in that line; the boss passes it on upward, for whoever waits there, and closes.
- The boss answers ``ok\n`` once the whole way up to the browser's side stands, or closes. A secret is good for one
  dial, and only while it was announced (``expect``) and is not expired. The hello must come within 5 s, the answer 10 s.
- Then raw bytes both ways. Each side may end its direction alone (TCP FIN); a stream ends when both have, or when
  nothing moved for the idle time. A side that hears the end and has no more to say closes.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luhyaapi import clock, log
from luhyaapi.errors import CODES, Refused, Trouble, Unavailable, from_wire, of
from luhyaapi.transfer.base import Trust
from luhyaapi.wire import tls
from luhyaapi.wire.ends import Local, UnixSocket, open_end, tune
from luhyaapi.wire.identity import Membership

__all__ = ["Bridge", "Dialling", "Exchange", "Local", "Moved", "UnixSocket", "bridge", "dial", "dialling", "pump", "read_hello", "refuse"]
_log = log.get(__name__)
VERSION = 1
HELLO_AT_MOST = 1024
HELLO_WITHIN_S = 5.0
ANSWER_WITHIN_S = 10.0
IDLE_S = 4 * 3600.0
_OK = b"ok\n"
_BUFFER = 64 * 1024
_LOOK_S = 1.0
_UNMATCHED_AT_MOST = 32
_STREAMS_AT_MOST = 256
_EXPECTED_AT_MOST = 4096

Address = tuple[str, int]
OnDial = Callable[[str, str], socket.socket]
"""``on_dial(stream, host)`` returns the socket of the other side; raising refuses the dial."""
OnRefused = Callable[[str, Trouble], None]
"""``on_refused(stream, error)``: the dialler has nothing to join it with, and why."""


@dataclass
class Moved:
    """Bytes that went from the first to the second socket (``there``) and the other way (``back``)."""

    there: int = 0
    back: int = 0


@dataclass(frozen=True)
class Dialling:
    """Where the stream door of the boss is, and whom it must prove to be; no ``trust``: it is on this host."""

    address: Address
    trust: Trust | None = None


def dialling(membership: Membership, folder: Path) -> Dialling:
    """How a role that joined dials its boss; ``folder`` is where it keeps its membership."""
    host, _, port = membership.streams.rpartition(":")
    return Dialling((host, int(port)), tls.trust(folder, membership.boss) if membership.secured else None)


def dial(boss: Dialling, stream: str, host_id: str, timeout_s: float = ANSWER_WITHIN_S) -> socket.socket:
    """A connected socket whose other end is the browser's side of ``stream``.

    Raises Unavailable(host_silent) when the boss does not answer, Refused(forbidden) when it does not want the stream.
    """
    until = clock.monotonic() + timeout_s
    sock = _connected(boss, timeout_s)
    try:
        sock.sendall(_hello({"stream": stream, "host": host_id, "v": VERSION}))
        answer = b""
        while len(answer) < len(_OK):
            sock.settimeout(max(until - clock.monotonic(), 0.01))
            piece = sock.recv(len(_OK) - len(answer))
            if not piece:
                raise Refused("forbidden", "The boss does not take this stream", "it may be used up or expired")
            answer += piece
        if answer != _OK:
            raise Refused("forbidden", "The boss does not take this stream", "it answered something else")
    except OSError as e:
        sock.close()
        raise Unavailable("host_silent", "The stream was not taken in time", str(e)) from e
    except Refused:
        sock.close()
        raise
    sock.settimeout(None)
    return sock


def refuse(boss: Dialling, stream: str, host_id: str, error: Trouble) -> None:
    """Tell who waits for ``stream`` that nothing comes, and why; they find out by waiting when they cannot be told."""
    hello = {"stream": stream, "host": host_id, "v": VERSION}
    wire = error.wire()
    cuts = (_hello({**hello, "error": {k: str(v)[:most] if k != "code" else v for k, v in wire.items()}}) for most in (400, 100, 40))
    try:
        with _connected(boss, HELLO_WITHIN_S) as sock:
            sock.sendall(next(line for line in cuts if len(line) <= HELLO_AT_MOST))
    except (OSError, Trouble) as e:
        _log.info("a refused stream could not be told of", why=str(e))


def _hello(form: dict[str, Any]) -> bytes:
    return json.dumps(form, ensure_ascii=False).encode() + b"\n"


def _connected(boss: Dialling, timeout_s: float) -> socket.socket:
    try:
        sock = socket.create_connection(boss.address, timeout=timeout_s)
    except OSError as e:
        where = f"{boss.address[0]}:{boss.address[1]}: {e}"
        raise Unavailable("host_silent", "The stream door of the boss does not answer", where) from e
    tune(sock)
    return tls.connect(sock, boss.trust) if boss.trust else sock


def pump(
    first: socket.socket, second: socket.socket, *, idle_s: float = IDLE_S, stop: threading.Event | None = None,
    moved: Moved | None = None,
) -> Moved:
    """Move bytes both ways until both directions ended, nothing moved for ``idle_s``, or ``stop``; closes both.

    At most 64 KiB wait in each direction: a slow reader slows its writer down.
    """
    counted = moved or Moved()
    there, back = _Way(first, second), _Way(second, first)
    last = clock.monotonic()
    try:
        for sock in (first, second):
            sock.setblocking(False)
        while not (there.ended and back.ended) and not (stop and stop.is_set()):
            reading = [way.source for way in (there, back) if way.wants_read]
            writing = [way.target for way in (there, back) if way.buffer]
            readable, writable = _ready(reading, writing)
            for way in (there, back):
                way.step(way.source in readable, way.target in writable)
            if readable or writable:
                counted.there, counted.back, last = there.moved, back.moved, clock.monotonic()
            elif clock.monotonic() - last > idle_s:
                break
    except OSError as e:
        _log.debug("stream broke", why=str(e))
    finally:
        first.close()
        second.close()
    return counted


class _Way:
    """One direction of a stream."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.buffer = b""
        self.moved = 0
        self.ended = False

    @property
    def wants_read(self) -> bool:
        return not self.ended and not self.buffer

    def step(self, readable: bool, writable: bool) -> None:
        if readable and self.wants_read:
            with contextlib.suppress(BlockingIOError):
                self.buffer = self.source.recv(_BUFFER)
                if not self.buffer:
                    self._end()
                writable = True
        if writable and self.buffer:
            with contextlib.suppress(BlockingIOError):
                sent = self.target.send(self.buffer)
                self.moved += sent
                self.buffer = self.buffer[sent:]

    def _end(self) -> None:
        self.ended = True
        with contextlib.suppress(OSError):
            self.target.shutdown(socket.SHUT_WR)


def _ready(
    reading: list[socket.socket], writing: list[socket.socket]
) -> tuple[list[socket.socket], list[socket.socket]]:
    """Like select, without its limit on descriptor numbers."""
    poll = select.poll()
    for sock in {*reading, *writing}:
        poll.register(sock, (select.POLLIN if sock in reading else 0) | (select.POLLOUT if sock in writing else 0))
    found = dict(poll.poll(_LOOK_S * 1000))
    bad = select.POLLERR | select.POLLHUP
    return (
        [s for s in reading if found.get(s.fileno(), 0) & (select.POLLIN | bad)],
        [s for s in writing if found.get(s.fileno(), 0) & (select.POLLOUT | bad)],
    )


class Exchange:
    """The stream door of a boss between: takes its children's dials and joins each with what ``on_dial`` returns.

    For a CC, ``on_dial = lambda stream, host: dial(boss, stream, own_id)``. At most 32 dials wait for their match and
    256 streams run at once. ``port`` 0 takes a free one.
    """

    def __init__(
        self, host: str, port: int, on_dial: OnDial, *, idle_s: float = IDLE_S, serving: ssl.SSLContext | None = None,
        on_refused: OnRefused | None = None,
    ) -> None:
        self._address = (host, port)
        self._serving = serving
        self._on_dial = on_dial
        self._on_refused = on_refused
        self._idle_s = idle_s
        self._expected: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._unmatched = threading.BoundedSemaphore(_UNMATCHED_AT_MOST)
        self._running = threading.BoundedSemaphore(_STREAMS_AT_MOST)
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, name="streams", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return int(self._listener.getsockname()[1]) if self._listener else self._address[1]

    def start(self) -> Exchange:
        """Bind and serve. Raises Unavailable(busy) when the address is taken."""
        try:
            self._listener = socket.create_server(self._address, backlog=_UNMATCHED_AT_MOST)
        except OSError as e:
            raise Unavailable("busy", "The stream door cannot be opened", f"{self._address}: {e}") from e
        self._listener.settimeout(_LOOK_S)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Take no more dials and end the running streams."""
        self._stop.set()
        if self._listener:
            with contextlib.suppress(OSError):
                # wakes the thread that accepts
                self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join(5)
            self._listener.close()

    def expect(self, stream: str, ttl_s: float) -> None:
        """Announce a stream: its secret is good for one dial within ``ttl_s`` seconds."""
        now = clock.monotonic()
        with self._lock:
            for old in [s for s, until in self._expected.items() if until < now]:
                del self._expected[old]
            if len(self._expected) >= _EXPECTED_AT_MOST:
                raise Refused("quota", "Too many streams are expected")
            self._expected[stream] = now + ttl_s

    def _take(self, stream: str) -> None:
        with self._lock:
            until = self._expected.pop(stream, None)
        if until is None:
            raise Refused("forbidden", "Nobody announced this stream", "it is unknown or used up")
        if until < clock.monotonic():
            raise Refused("expired", "This stream was announced too long ago")

    def _accept(self) -> None:
        while not self._stop.is_set() and self._listener:
            try:
                sock, peer = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as e:
                if not clock.wait(self._stop, _LOOK_S / 10):
                    _log.warning("stream door cannot accept", why=str(e))
                continue
            if not self._unmatched.acquire(blocking=False):
                _log.warning("too many unmatched streams", peer=peer[0])
                sock.close()
                continue
            threading.Thread(target=self._serve, args=(sock, peer[0]), name="stream", daemon=True).start()

    def _serve(self, sock: socket.socket, peer: str) -> None:
        other = None
        try:
            sock = self._secured(sock)
            other = self._match(sock, peer)
        except OSError as e:
            _log.info("stream refused", peer=peer, why=str(e))
        finally:
            self._unmatched.release()
        if other is None:
            sock.close()
            return
        try:
            pump(sock, other, idle_s=self._idle_s, stop=self._stop)
        finally:
            self._running.release()

    def _secured(self, sock: socket.socket) -> socket.socket:
        tune(sock)
        if self._serving is None:
            return sock
        sock.settimeout(HELLO_WITHIN_S)
        return tls.plain(self._serving.wrap_socket(sock, server_side=True))

    def _match(self, sock: socket.socket, peer: str) -> socket.socket | None:
        """The other side's socket, after our ok; None when the dial is refused."""
        if not self._running.acquire(blocking=False):
            _log.warning("too many streams", peer=peer)
            return None
        other = None
        try:
            stream, host, error = read_hello(sock)
            self._take(stream)
            if error:
                if self._on_refused:
                    self._on_refused(stream, error)
                raise error
            other = self._on_dial(stream, host)
            tune(other)
            sock.settimeout(HELLO_WITHIN_S)
            sock.sendall(_OK)
        except Exception as error:
            trouble = of(error)
            _log.info("stream refused", peer=peer, code=trouble.code, why=str(error), exc_info=trouble.code == "bug")
            if other:
                other.close()
            self._running.release()
            return None
        return other


def read_hello(sock: socket.socket, within_s: float = HELLO_WITHIN_S) -> tuple[str, str, Trouble | None]:
    """The (stream, host) a dialler names, and why it has nothing to offer if so. Raises Refused(invalid) for anything but one good line in time."""
    until = clock.monotonic() + within_s
    line = b""
    while not line.endswith(b"\n"):
        left = until - clock.monotonic()
        if left <= 0 or len(line) >= HELLO_AT_MOST:
            raise Refused("invalid", "The hello of a stream is too long or too slow")
        sock.settimeout(left)
        try:
            piece = sock.recv(HELLO_AT_MOST - len(line))
        except OSError as e:
            raise Refused("invalid", "The hello of a stream did not come", str(e)) from e
        if not piece or b"\n" in piece[:-1]:
            raise Refused("invalid", "The hello of a stream is not one line")
        line += piece
    try:
        hello = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise Refused("invalid", "The hello of a stream is not JSON") from e
    if not isinstance(hello, dict) or hello.get("v") != VERSION:
        raise Refused("invalid", "The hello of a stream is of another version")
    stream, host = hello.get("stream"), hello.get("host")
    if not isinstance(stream, str) or not isinstance(host, str) or not stream:
        raise Refused("invalid", "The hello of a stream names no stream or no host")
    return stream, host, error_of(hello)


def error_of(hello: dict[str, Any]) -> Trouble | None:
    """The error in a hello; None in one of a dialler that has something to offer."""
    found = hello.get("error")
    if not isinstance(found, dict) or str(found.get("code")) not in CODES:
        return None
    return from_wire({k: str(found.get(k) or "") for k in ("code", "what", "why", "hint")})


class Bridge:
    """A running stream between something on this host and the browser's side; ``moved`` counts its bytes."""

    def __init__(self, local: socket.socket, remote: socket.socket, idle_s: float) -> None:
        self.moved = Moved()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=pump, args=(local, remote), kwargs={"idle_s": idle_s, "stop": self._stop, "moved": self.moved},
            name="bridge", daemon=True,
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still stands."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it."""
        self._stop.set()

    def wait(self, patience_s: float | None) -> bool:
        """Wait for its end, None: for ever; whether it ended."""
        self._thread.join(patience_s)
        return not self.running


def bridge(
    local: Local, boss: Dialling, stream: str, host_id: str, *, follow: bool = False, idle_s: float = IDLE_S,
) -> Bridge:
    """Join something on this host with a dialled stream; runs by itself.

    ``follow``: a file is sent on as it grows, until the other side ends. Returns once the stream stands.
    Raises Unavailable(host_silent), Refused(forbidden), and Refused(not_found) when there is no such port, socket or file:
    whoever waits for the stream hears that too.
    """
    try:
        near = open_end(local, follow, idle_s)
    except Refused as error:
        refuse(boss, stream, host_id, error)
        raise
    try:
        remote = dial(boss, stream, host_id)
    except BaseException:
        near.close()
        raise
    return Bridge(near, remote, idle_s)
