"""A metadata service nobody's packets reach: for tests and the simulation."""

from __future__ import annotations

from collections.abc import Sequence

from nc.drivers.metadata_base import Answer, Asker, Question, Told


class FakeMetadata:
    """Keeps the laws of MetadataDoor in memory; ``ask`` is what a card on that bridge does that sends from that address."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._askers: tuple[Asker, ...] = ()

    def serve(self, askers: Sequence[Asker]) -> None:
        """Remember them."""
        self._askers = tuple(askers)

    def ask(self, tap: str, ip: str, question: Question) -> Answer | None:
        """None: no answer comes."""
        asker = next((a for a in self._askers if a.tap == tap and a.ip == ip), None)
        return self._told(asker.bridge, ip, question) if asker else None

    def close(self) -> None:
        """Nobody is answered."""
        self._askers = ()
