"""Cutting off peers that hold a thread by sending or taking one byte at a time."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from luhyaapi import clock, log
from luhyaapi.process import Loop

_log = log.get(__name__)


class Slowness:
    """Knows what every thread waits for on the wire, and shuts the socket of what takes longer than allowed."""

    def __init__(self, name: str, look_every_s: float) -> None:
        self._steps: dict[int, tuple[float, socket.socket]] = {}
        self._numbers = itertools.count()
        self._loop = Loop(name, self.step, look_every_s)

    def start(self) -> None:
        """Look after them from now on."""
        self._loop.start()

    def stop(self) -> None:
        """Look no more."""
        self._loop.stop()

    @contextmanager
    def within(self, sock: socket.socket, seconds: float) -> Iterator[None]:
        """What is done inside ends in so many seconds, or its socket is shut and it fails."""
        number = next(self._numbers)
        self._steps[number] = (clock.monotonic() + seconds, sock)
        try:
            yield
        finally:
            del self._steps[number]

    def step(self) -> int:
        """Shut the sockets of all that are late; how many."""
        now = clock.monotonic()
        late = [sock for until, sock in tuple(self._steps.values()) if until < now]
        for sock in late:
            _log.info("peer was too slow")
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        return len(late)
