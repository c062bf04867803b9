"""Where a download may ask: neighbours first, whoever surely has it last; who cannot give now is left alone for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luhyaapi import clock
from luhyaapi.transfer.base import Source

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0


@dataclass(eq=False)
class Place:
    """A source and how it did. ``is_last``: the last resort, which has all of it; others may have none or some."""

    source: Source
    is_last: bool
    pause_s: float = FIRST_PAUSE_S
    until: float = 0.0

    def did_well(self) -> None:
        """Bytes came from there."""
        self.pause_s = FIRST_PAUSE_S

    def rest(self) -> None:
        """Leave it alone for a while, longer each time."""
        self.until = clock.monotonic() + self.pause_s
        self.pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)


class Sources:
    """All places of one download."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def offer(self, source: Source, neighbours: Sequence[Source] = ()) -> None:
        """One more last resort, asked before those that were there; and neighbours, asked before all of them in this order."""
        known = [place.source for place in self._places]
        if source not in known:
            first = next((n for n, place in enumerate(self._places) if place.is_last), len(self._places))
            self._places.insert(first, Place(source, is_last=True))
        new = [Place(each, is_last=False) for each in neighbours if each not in known]
        self._places[:0] = new

    def drop(self, place: Place) -> bool:
        """Ask it no more; whether any is left."""
        if place in self._places:
            self._places.remove(place)
        return bool(self._places)

    @property
    def has_neighbours(self) -> bool:
        """Whether somebody else than the last resort may have it."""
        return any(not place.is_last for place in self._places)

    def next(self, *, last_first: bool = False) -> tuple[Place, float]:
        """Whom to ask now, and in how many seconds: the first that does not rest, or who rests no longer than all others."""
        now = clock.monotonic()
        ordered = sorted(self._places, key=lambda place: place.is_last != last_first)
        ready = next((place for place in ordered if place.until <= now), None)
        if ready is not None:
            return ready, 0.0
        soonest = min(ordered, key=lambda place: place.until)
        return soonest, soonest.until - now
