"""The way of bytes between simulated roles: whoever gives or takes them acts meanwhile, and may die of it; what is on the way is cut and spoiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from deploy.playground import Near
from luhyaapi.errors import Unavailable
from luhyaapi.transfer.base import Cancelled, Source
from luhyaapi.transfer.download import PROTOCOLS
from tests.support.flow_world import Crash

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

T = TypeVar("T")
_FLIP, _FLIP_ALONE = 0.05, 0.3
"""How often bits are turned; alone: where that is the only fault."""


class Way(Near):
    """``troubles``: ``cut`` and ``flip``, each with how many bytes a request moves before, and when it is over.

    Whoever tries again and again sleeps meanwhile, and is ahead of the world: to it they are over then.
    """

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.troubles: dict[str, tuple[int, float]] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """All bytes of this process go this way while this is open."""
        before = PROTOCOLS["near"]
        PROTOCOLS["near"] = self
        try:
            yield
        finally:
            PROTOCOLS["near"] = before

    def get(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        here, moved = self._sim.clock.actor, 0

        def taken(piece: bytes) -> None:
            nonlocal moved
            there, self._sim.clock.actor = self._sim.clock.actor, here
            try:
                moved += len(piece)
                if moved > (left := self._after("cut", moved)):
                    take(piece[: len(piece) - (moved - left)])
                    raise Unavailable("transfer", "The transfer was cut", "as planned")
                take(self._spoiled(piece))
            finally:
                self._sim.clock.actor = there

        self._at_other(source, lambda: super(Way, self).get(source, taken, stopped))

    def put(self, source: Source, body: bytes, stopped: Cancelled) -> bytes:
        if len(body) > self._after("cut", len(body)):
            raise Unavailable("transfer", "The transfer was cut", "as planned")
        body = self._spoiled(body)
        return self._at_other(source, lambda: super(Way, self).put(source, body, stopped))

    def _spoiled(self, piece: bytes) -> bytes:
        rng, often = self._sim.rng, _FLIP_ALONE if self._sim.plan.kinds == ("bytes_flip",) else _FLIP
        if self._after("flip", -1) < 0 or not piece or rng.random() > often:
            return piece
        at = rng.randrange(len(piece))
        return piece[:at] + bytes([piece[at] ^ 1 << rng.randrange(8)]) + piece[at + 1 :]

    def _after(self, what: str, otherwise: int) -> int:
        after, until = self.troubles.get(what, (otherwise, 0.0))
        return after if self._sim.clock.monotonic() < until else otherwise

    def _at_other(self, source: Source, act: Callable[[], T]) -> T:
        """The other side acts; where it dies, only the connection ends here."""
        sim, name = self._sim, urlsplit(source.url).netloc
        before = sim.clock.actor
        sim.clock.actor = name
        try:
            return act()
        except Crash as crash:
            sim.kill(name, f"at {crash}", back_s=sim.rng.choice((0.0, 2.0, 20.0)))
            raise Unavailable("transfer", "The transfer was cut", "the other side died") from None
        finally:
            sim.clock.actor = before
