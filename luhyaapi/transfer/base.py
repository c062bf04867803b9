"""What moving bytes means: a protocol only moves them, everything else is the courier's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
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


class Ability(StrEnum):
    """What a protocol can do."""

    GET = "get"
    RESUME = "resume"


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


@dataclass(frozen=True)
class Span:
    """What the other side says it sends: from byte ``start`` on; ``total`` bytes in the whole, -1 unknown."""

    start: int
    total: int = -1


class Transfer(Protocol):
    """A protocol: bytes only. It neither stores, retries nor checks digests.

    ``get`` asks for the bytes from ``start`` on, calls ``begin`` once with what really comes, then ``take`` with
    pieces of at most CHUNK bytes, in order; both may raise, which ends the transfer with their error. It returns when
    all announced bytes were taken. Raises Refused (the other side will not), Failed (it cannot), Unavailable(transfer)
    (cut or not reachable; later may work) and Refused(cancelled) soon after ``stopped`` says so.
    """

    schemes: frozenset[str]
    can: frozenset[Ability]

    def get(
        self, source: Source, start: int, begin: Callable[[Span], None], take: Callable[[bytes], None], stopped: Cancelled
    ) -> None:
        """Move the bytes."""
