"""The two ends a role may have: a link up to its boss, a link down to its children. Transports implement them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

OnCommand = Callable[[bytes], None]
OnReports = Callable[[Sequence[tuple[str, bytes]]], list[Exception | None]]
"""Takes ``(sender, message)`` in the order they came; answers for each None, or why it must come again alone.

Raises when none of them can be taken now: then none may be acknowledged.
"""


@dataclass(frozen=True)
class Dead:
    """A message that nobody could take: the sealed ``message`` itself, the queue it died in, why, and after how many tries."""

    message: bytes
    queue: str
    reason: str
    times: int


OnDead = Callable[[Dead], None]


@dataclass(frozen=True)
class Account:
    """A child's own account at the boss's broker, good for its own queues only. ``url`` holds the password.

    ``name``: whom the broker proves to be by TLS; empty: it is spoken to in the clear, on this machine.
    """

    url: str
    name: str = ""


class UpLink(Protocol):
    """To the boss. ``on_command`` must have made the order durable when it returns; raising puts it back."""

    def start(self, on_command: OnCommand, on_connect: Callable[[], None]) -> None: ...
    def report(self, message: bytes, *, durable: bool) -> None:
        """Returns when the broker has it. Raises Unavailable(broker_down)."""

    def is_connected(self) -> bool: ...
    def trouble(self) -> str:
        """Why it is not connected; empty when it is."""

    def stop(self) -> None: ...


class DownLink(Protocol):
    """To the children. ``on_reports`` gets what is there at once, each with its sender as the broker proves it.

    Reports that cannot be taken for a while (Unavailable, no space) are held and tried again; one that fails otherwise comes
    again a few times and is then told to ``on_dead``, as is an order its receiver could not take.
    """

    def start(self, on_reports: OnReports, on_dead: OnDead = lambda _dead: None) -> None: ...
    def command(self, to: str, message: bytes, *, control: bool) -> None:
        """Returns when the broker has it. Raises Unavailable(broker_down), Refused(not_found) without a queue."""

    def report_again(self, sender: str, message: bytes) -> None:
        """Put a child's report into our queue once more, as if it came from there. Raises Unavailable(broker_down)."""

    def admit(self, child: str, password: str = "") -> Account:
        """Make a child's queues, exchange and account, with a password of chance where none is given; again sets it anew."""

    def remove(self, child: str) -> None: ...
    def is_connected(self) -> bool: ...
    def listening_since(self) -> float | None:
        """Since when (seconds since 1970) reports could reach us without a break; None: they cannot now."""

    def stop(self) -> None: ...
