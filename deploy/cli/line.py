"""A line to a guest through the cloud: one websocket, let in by a one-time ticket; its bytes joined with this terminal or these pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
import threading
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from deploy.cli import api, output
from deploy.cli.guarded import Guarded
from luhyaapi import clock
from luhyaapi.errors import Refused, Trouble, Unavailable

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from deploy.cli.session import Session

T = TypeVar("T")
LEAVE = b"\x1d"
"""Ctrl-]."""
_PIECE = 64 * 1024
_OPEN_WITHIN_S = 30.0
_LOOK_S = 0.2
_LAST_WORDS_S = 2.0
_DONE, _NOT_SIGNED_IN, _REFUSED, _SILENT = 1000, 4401, 4403, 4408


class Line:
    """A websocket in a loop of its own, for callers that wait.

    The library's own client for such callers reads in one thread and writes in another: over TLS, which is not safe for two, one in a hundred
    openings hung for ever.
    """

    def __init__(self) -> None:
        self._loop, self._ended = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="line", daemon=True)
        self._thread.start()
        self._socket: ClientConnection | None = None

    def open(self, url: str, **how: Any) -> None:
        """As ``websockets.asyncio.client.connect``."""
        from websockets.asyncio.client import connect

        async def connected() -> ClientConnection:
            return await connect(url, **how)

        self._socket = self._done(connected())

    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next piece. Raises TimeoutError, ConnectionClosed."""

        async def next_piece() -> str | bytes:
            async with asyncio.timeout(timeout):
                return await self._open.recv()

        return self._done(next_piece())

    def send(self, piece: str | bytes) -> None:
        """Raises ConnectionClosed."""
        self._done(self._open.send(piece))

    def close(self) -> None:
        """The end of it; a line that is closed or was never opened stays as it is."""
        try:
            if self._socket is not None:
                self._done(self._socket.close())
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()

    def _live(self) -> None:
        # at its end it calls off what is under way, such as an opening somebody has interrupted
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._ended.wait())

    @property
    def _open(self) -> ClientConnection:
        assert self._socket is not None  # noqa: S101 - who has a line has opened it
        return self._socket

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextlib.contextmanager
def opened(session: Session, where: str, body: dict[str, Any] | None = None) -> Iterator[Line]:
    """The websocket of the ticket that a POST to ``where`` gives. Raises what the API answers, Unreachable."""
    from websockets.exceptions import InvalidHandshake, InvalidURI
    from websockets.typing import Subprotocol

    base = session.api.context
    url = address(base.url, str(session.api.post(where, body)["url"]))
    with contextlib.closing(Line()) as line:
        try:
            line.open(
                url, additional_headers={"Authorization": f"Bearer {base.token}"}, subprotocols=[Subprotocol("binary")], compression=None,
                max_size=None, ssl=session.api.trust() or None, open_timeout=_OPEN_WITHIN_S, proxy=None if api.loopback(base.url) else True,
            )
        except (OSError, InvalidHandshake, InvalidURI) as e:
            raise api.Unreachable(base.url, str(e)) from e
        yield line


def address(base: str, where: str) -> str:
    """The websocket of the cloud at ``base`` whose address it gave as ``where``: never one of another server."""
    parts = urlsplit(base)
    path = urlsplit(where).path
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + "/" + path.lstrip("/"), "", ""))


def ended(code: int, reason: str) -> Trouble | None:
    """Why a line ended, by the close of its websocket; None for an end that is nobody's fault."""
    if code == _DONE:
        return None
    what, _, why = reason.partition("\n")
    if code == _NOT_SIGNED_IN:
        return Refused("unauthenticated", what or "The session ended", why)
    if code == _REFUSED:
        return Refused("state", what or "The line was refused", why)
    if code == _SILENT:
        return Unavailable("host_silent", what or "The node did not answer", why)
    return Unavailable("interrupted", what or "The line to the cloud was cut", why or (f"websocket {code}" if code else ""), hint="Open it again.")


def joined(socket: Line, *, leave: bytes = b"", lingers_s: float | None = None) -> None:
    """Move bytes between the line and standard input and output until either ends.

    On a terminal the output is shown as far as it only draws, and ``leave`` typed alone ends the line. When the input ends, the
    line goes on until nothing came for ``lingers_s`` seconds; None: for as long as the other side wants.
    Raises what :func:`ended` names.
    """
    typing = _Typing(socket, leave)
    guard = Guarded() if sys.stdout.isatty() else None
    threading.Thread(target=typing.run, name="typing", daemon=True).start()
    try:
        _show(socket, typing, guard, lingers_s)
    finally:
        typing.stop()
        if guard:
            _write(guard.restore())


def _show(socket: Line, typing: _Typing, guard: Guarded | None, lingers_s: float | None) -> None:
    from websockets.exceptions import ConnectionClosed

    heard_at = clock.monotonic()
    while not typing.left:
        try:
            piece = socket.recv(timeout=_LOOK_S)
        except TimeoutError:
            if lingers_s is not None and typing.is_over and clock.monotonic() - max(heard_at, typing.over_at) > lingers_s:
                return
            continue
        except ConnectionClosed as e:
            if trouble := ended(e.rcvd.code if e.rcvd else 0, e.rcvd.reason if e.rcvd else ""):
                raise trouble from e
            return
        heard_at = clock.monotonic()
        data = piece.encode() if isinstance(piece, str) else piece
        _write(guard.feed(data) if guard else data)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class _Typing:
    """What comes in on standard input goes to the line; a thread of its own."""

    def __init__(self, socket: Line, leave: bytes) -> None:
        self._socket = socket
        self._leave = leave
        self._stop = threading.Event()
        self.is_over = False
        self.over_at = 0.0
        self.left = False

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()

    def run(self) -> None:
        """Until the input or the line ends."""
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(OSError, ConnectionClosed):
            while not self._stop.is_set():
                if not select.select([sys.stdin], [], [], _LOOK_S)[0]:
                    continue
                typed = os.read(sys.stdin.fileno(), _PIECE)
                if self._leave and self._leave in typed:
                    self.left = True
                    typed = typed.partition(self._leave)[0]
                if typed:
                    self._socket.send(typed)
                if self.left or not typed:
                    break
        self.over_at, self.is_over = clock.monotonic(), True


@contextlib.contextmanager
def raw() -> Iterator[bool]:
    """The terminal gives every key as it is, and is afterwards as it was; whether there is one at all."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield False
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield True
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)


def console(socket: Line, name: str) -> None:
    """A serial console on this terminal, ended by Ctrl-]; or on pipes, ended some seconds after the last word. Raises as :func:`joined`."""
    if sys.stdin.isatty():
        output.note(f"The serial console of {name}. Ctrl-] ends it.")
    with raw() as is_raw:
        joined(socket, leave=LEAVE if is_raw else b"", lingers_s=_LAST_WORDS_S)
    if is_raw:
        output.note("")
        output.note(f"The serial console of {name} is closed.")
