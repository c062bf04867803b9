"""Transport in process: deterministic, delivered only when pumped, with faults to inject."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from luhyaapi import clock
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.link import Account, OnCommand, OnReport

Fault = Callable[[str, str, bytes], list[bytes]]
"""(direction 'down' or 'up', receiving or sending host, message) -> what is delivered: [] drops, twice doubles."""


def _faithful(_direction: str, _host: str, message: bytes) -> list[bytes]:
    return [message]


def _nothing() -> None:
    return


def _alone(message: bytes) -> tuple[bytes]:
    return (message,)


@dataclass
class MemoryWire:
    """The queues of a whole cloud. ``down`` is a broker that does not answer; ``on_post`` is told that something waits."""

    fault: Fault = _faithful
    down: bool = False
    on_post: Callable[[], None] = _nothing
    up_since: float = field(default_factory=clock.now)
    _queues: dict[str, deque[bytes]] = field(default_factory=lambda: defaultdict(deque))
    _reports: dict[str, deque[tuple[str, bytes]]] = field(default_factory=lambda: defaultdict(deque))
    _known: dict[str, str] = field(default_factory=dict)
    _commands_to: dict[str, OnCommand] = field(default_factory=dict)
    _reports_to: dict[str, OnReport] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def cut(self) -> None:
        """The broker stops answering."""
        self.down = True

    def heal(self) -> None:
        """The broker answers again."""
        self.down, self.up_since = False, clock.now()

    def pump(self) -> int:
        """Deliver everything that waits now; how many messages that were. What its taker raises at comes again.

        Raises what the first such taker raised, after all others had theirs.
        """
        moved = 0
        raised: list[Exception] = []
        rounds: list[tuple[deque[Any], Callable[..., None] | None, Callable[[Any], tuple[Any, ...]]]] = [
            *((queue, self._commands_to.get(host), _alone) for host, queue in list(self._queues.items())),
            *((queue, self._reports_to.get(boss), tuple) for boss, queue in list(self._reports.items())),
        ]
        for queue, to, parts in rounds:
            try:
                moved += self._deliver(queue, to, parts)
            except Exception as e:
                raised.append(e)
        if raised:
            raise raised[0]
        return moved

    def pending(self) -> int:
        """Messages not delivered yet to somebody who is there."""
        commands = sum(len(q) for host, q in list(self._queues.items()) if host in self._commands_to)
        return commands + sum(len(q) for boss, q in list(self._reports.items()) if boss in self._reports_to)

    def _deliver(self, queue: deque[Any], to: Callable[..., None] | None, parts: Callable[[Any], tuple[Any, ...]]) -> int:
        waiting = len(queue) if to and not self.down else 0
        for n in range(waiting):
            if self.down:
                return n
            to(*parts(queue[0]))  # type: ignore[misc]
            queue.popleft()
        return waiting

    def post_command(self, to: str, message: bytes) -> None:
        """Into the receiver's queue."""
        self._alive()
        if to not in self._known:
            raise Refused("not_found", f"Nobody reads the queue of {to}")
        with self._lock:
            self._queues[to].extend(self.fault("down", to, message))
        self.on_post()

    def post_report(self, sender: str, message: bytes) -> None:
        """Into the boss's queue."""
        self._alive()
        boss = self._known.get(sender)
        if boss is None:
            raise Unavailable("broker_down", "The broker does not know us", sender)
        with self._lock:
            self._reports[boss].extend((sender, m) for m in self.fault("up", sender, message))
        self.on_post()

    def _alive(self) -> None:
        if self.down:
            raise Unavailable("broker_down", "The broker does not answer")


class MemoryUpLink:
    """A child's end."""

    def __init__(self, wire: MemoryWire, me: str) -> None:
        self._wire = wire
        self._me = me

    def start(self, on_command: OnCommand, on_connect: Callable[[], None]) -> None:
        self._wire._commands_to[self._me] = on_command  # noqa: SLF001 - the two ends are one transport
        on_connect()

    def report(self, message: bytes, *, durable: bool) -> None:  # noqa: ARG002 - memory keeps nothing
        self._wire.post_report(self._me, message)

    def is_connected(self) -> bool:
        return not self._wire.down

    def stop(self) -> None:
        self._wire._commands_to.pop(self._me, None)  # noqa: SLF001


class MemoryDownLink:
    """A boss's end."""

    def __init__(self, wire: MemoryWire, me: str) -> None:
        self._wire = wire
        self._me = me

    def start(self, on_report: OnReport) -> None:
        self._wire._reports_to[self._me] = on_report  # noqa: SLF001

    def command(self, to: str, message: bytes, *, control: bool) -> None:  # noqa: ARG002 - one queue is enough
        self._wire.post_command(to, message)

    def admit(self, child: str) -> Account:
        self._wire._known[child] = self._me  # noqa: SLF001
        return Account(f"memory://{child}")

    def remove(self, child: str) -> None:
        self._wire._known.pop(child, None)  # noqa: SLF001
        self._wire._queues.pop(child, None)  # noqa: SLF001

    def is_connected(self) -> bool:
        return not self._wire.down

    def listening_since(self) -> float | None:
        return None if self._wire.down else self._wire.up_since

    def stop(self) -> None:
        self._wire._reports_to.pop(self._me, None)  # noqa: SLF001
