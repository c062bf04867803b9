"""MetadataDoor: where guests of this node ask about themselves, and the laws every driver keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Asker:
    """A guest's card that may ask: the bridge of its network on this node, the tap, its own MAC and IPv4 address."""

    bridge: str
    tap: str
    mac: str
    ip: str


@dataclass(frozen=True)
class Question:
    """A request: ``path`` as it was sent, without what follows a question mark; the names of ``headers`` in small letters."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What is said to it: ``status`` of HTTP, ``text`` of that ``kind``."""

    status: int
    text: str = ""
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Told = Callable[[str, str, Question], Answer]
"""Answers what is asked on a bridge from an address: it may be called by any thread, quickly, and raises nothing."""


class MetadataDoor(Protocol):
    """169.254.169.254, port 80, on the bridges of this node, for exactly those cards.

    ``serve`` brings everything to what it is told, whole, and may be called again at will: it heals what was taken away, and a bridge
    nobody asks from any more is left as it was. A bridge that is not there yet is served by the next call. What comes from no card of
    those gets no answer; what a card asks reaches nobody else, on no host, whomever the guest takes for its router.
    Raises Failed(network | missing); those that were served before still are.

    ``close`` ends it.
    """

    def serve(self, askers: Sequence[Asker]) -> None: ...
    def close(self) -> None: ...
