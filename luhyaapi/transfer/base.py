"""What moving bytes means: a protocol only moves them, everything else is the courier's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

CHUNK = 1024 * 1024
"""Bytes held in memory at once, per transfer."""

Progress = Callable[[int, int], object]
"""Called with (bytes done, bytes in all)."""

Cancelled = Callable[[], bool]
"""Asked often; true ends the work with Refused(cancelled)."""


def no_progress(_done: int, _total: int) -> None:
    """For those who do not want to know."""


def never() -> bool:
    """For work that nobody cancels."""
    return False


@dataclass(frozen=True)
class Trust:
    """Whom the other side must prove to be: ``name`` (a host id, or a role's name), by a certificate of ``authority`` (a file)."""

    authority: Path
    name: str


@dataclass(frozen=True)
class Source:
    """Where bytes are: ``url``, the headers that open it, and whom the other side must prove to be when it is https."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    trust: Trust | None = None


class Transfer(Protocol):
    """A protocol: bytes only. It neither stores, retries nor checks digests.

    ``put`` sends bytes up. ``get`` calls ``take`` with all bytes of ``source`` in order, in pieces of at most 2 CHUNK; what ``take`` raises ends the
    transfer with that error. What came before a cut was taken. Raises Refused (the other side will not), Failed (it cannot),
    Unavailable(transfer) (cut or not reachable; later may work) and Refused(cancelled) soon after ``stopped`` says so.
    """

    schemes: frozenset[str]

    def get(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        """Move the bytes."""

    def put(self, source: Source, body: bytes, stopped: Cancelled) -> bytes:
        """Send ``body`` there, and the answer, at most 2 CHUNK; raises what ``get`` raises."""
