"""The agent of a role that remembers: its work runs in its own database, its orders go out of its outbox."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import DataError

from luhyaapi import clock, points
from luhyaapi.agent import Agent
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.reports import LetterFacts
from luhyaapi.errors import Refused
from luhyaapi.process import Loop
from luhyaapi.status.relay import Origin
from luhyaapi.wire.identity import public_key
from luhyaapi.wire.link import Dead
from luhyaapi.wire.signing import seal
from luhyadb import heard, letters, memory, outbox

_LETTERS_EVERY_S = 3.0
_ASKED_AT_ONCE = 500
_CHILDREN_KNOWN_S, _ASKED_AGAIN_S = 5.0, 0.5
"""Who is below a child is asked every so often; sooner, yet not without end, when it tells of a host we do not know there."""
Known = Callable[[Collection[str]], Iterable[tuple[str, str, str]]]
Children = Callable[[str], Iterable[str]]


class BossAgent(Agent):
    """``known(hosts)`` answers id, certificate (PEM) and boss of those that are below us; ``children_of(boss)`` all below a child."""

    known: Known = staticmethod(lambda _hosts: ())
    children_of: Children = staticmethod(lambda _boss: ())

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._keys: dict[str, tuple[str, Ed25519PublicKey]] = {}
        self._children: dict[str, tuple[frozenset[str], float]] = {}
        self.publisher = outbox.Publisher(self.me, self.settings.beat.queue_patience_s, self._post)
        self._posting: Loop | None = None

    @contextlib.contextmanager
    def memory(self) -> Iterator[None]:
        with memory.thread_of(self.shape.name):
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with memory.atomic():
                yield
        except (DataError, OverflowError) as e:
            raise Refused("invalid", "A report does not fit into the database", str(e)[:200]) from e

    def is_fresh(self, envelope: Envelope) -> bool:
        return heard.is_fresh(envelope)

    def origins(self, hosts: Collection[str]) -> dict[str, Origin]:
        with self.memory():
            rows = [row for some in _slices(hosts) for row in type(self).known(some)]
        return {host: Origin(self._key(host, pem), boss) for host, pem, boss in rows if pem}

    def _key(self, host: str, pem: str) -> Ed25519PublicKey:
        held = self._keys.get(host)
        if held is None or held[0] != pem:
            held = self._keys[host] = pem, public_key(pem)
        return held[1]

    def below(self, boss: str, hosts: Collection[str]) -> set[str]:
        now = clock.monotonic()
        children, since = self._children.get(boss, (frozenset(), 0.0))
        is_old = not 0 <= now - since < _CHILDREN_KNOWN_S
        if is_old or (now - since > _ASKED_AGAIN_S and not children.issuperset(hosts)):
            with self.memory():
                children = frozenset(type(self).children_of(boss))
            self._children[boss] = children, now
        return {host for host in hosts if host in children}

    def post_orders(self) -> int:
        """Post what waits in the outbox; how many."""
        with self.memory():
            return self.publisher.step()

    def post_soon(self) -> None:
        """An order may wait in the outbox."""
        if self._posting:
            self._posting.wake()

    def send_letters(self) -> None:
        """Send again the dead letters that somebody wants sent."""
        if self.down is None:
            return
        with self.memory():
            for story in letters.send_wanted(self.me, self.down, self.key, self.settings.beat.queue_patience_s):
                self._tell(story)

    def keep_dead(self, dead: Dead) -> None:
        with self.memory(), self.transaction():
            story = letters.keep(self.me, dead)
        self._tell(story)

    def _tell(self, story: LetterFacts) -> None:
        # The CLC keeps its own; a CC's are told to it.
        if self.boss:
            self.report(story)

    def _post(self, to: str, envelope: Envelope, control: bool) -> None:
        assert self.down is not None  # noqa: S101 - a boss has a link down
        points.at("order: before post")
        self.down.command(to, seal(envelope, self.key), control=control)
        points.at("order: confirmed")

    def sweep(self) -> None:
        super().sweep()
        with self.memory():
            heard.prune()
            letters.sweep(self.me)

    def start(self) -> None:
        self._posting = Loop("outbox", self.post_orders, 0.5).start()
        outbox.on_new(self.post_soon)
        self.loops += [self._posting, Loop("letters", self.send_letters, _LETTERS_EVERY_S).start()]
        super().start()


def _slices(hosts: Collection[str]) -> Iterator[list[str]]:
    """As many as one question to a database should name."""
    every = list(hosts)
    for n in range(0, len(every), _ASKED_AT_ONCE):
        yield every[n:n + _ASKED_AT_ONCE]
