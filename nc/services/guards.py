"""All cards of this node, told to its network before a guest of theirs starts, and again whenever rules may have been lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from luhyaapi.contracts.specs import Nic
from luhyaapi.contracts.vocabulary import InstanceState
from nc.drivers.base import NodeNetwork
from nc.services.wanted import WantedFiles


class Guards:
    """The cards as the orders of this node say, read once and kept. Each verb raises Failed(network | missing)."""

    def __init__(self, network: NodeNetwork, wanted: WantedFiles) -> None:
        self._network, self._wanted = network, wanted
        self._lock = threading.Lock()
        self._cards: dict[str, tuple[Nic, ...]] | None = None

    def stand(self, instance: str, nics: Sequence[Nic]) -> None:
        """These cards are guarded, beside all others."""
        with self._lock:
            cards = self._known()
            self._network.guard(cards | {instance: tuple(nics)})
            cards[instance] = tuple(nics)

    def leave(self, instance: str) -> None:
        """An instance has gone, with its taps."""
        with self._lock:
            cards = self._known()
            if cards.pop(instance, None) is not None:
                self._network.guard(cards)

    def renew(self) -> None:
        """All of them again, as they are wanted now."""
        with self._lock:
            self._cards = None
            self._network.guard(self._known())

    def _known(self) -> dict[str, tuple[Nic, ...]]:
        if self._cards is None:
            everyone = map(self._wanted.read, self._wanted.all())
            self._cards = {each.spec.instance: each.spec.nics for each in everyone if each and each.state != InstanceState.DELETED}
        return self._cards
