"""Who answered for addresses that are about to be used: memory of this process, and disposable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from luhyaapi import clock
from luhyaapi.contracts.specs import Nic

_FRESH_S = 30.0
Card = tuple[str, str]
"""An instance and the address it was lent."""


class Asked:
    """What the wire answered lately; empty: nobody. One question at a time, and that for all who wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[Card, tuple[float, str]] = {}

    def others(self, own: Mapping[Card, Nic], waiting: Callable[[], Mapping[Card, Nic]], ask: Callable[[tuple[Nic, ...]], dict[str, str]]) -> dict[str, str]:
        """By address of these cards the MAC of who has it already. ``waiting``: the cards that will be asked for next."""
        with self._lock:
            now = clock.now()
            self._said = {card: said for card, said in self._said.items() if abs(now - said[0]) < _FRESH_S}
            if own.keys() - self._said.keys():
                new = {card: nic for card, nic in {**own, **waiting()}.items() if card not in self._said}
                answered = ask(tuple(new.values()))
                self._said |= {card: (now, answered.get(card[1], "")) for card in new}
            return {card[1]: self._said[card][1] for card in own if self._said[card][1]}
