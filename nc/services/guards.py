"""The edge of this node, told to its network before a guest starts, and again whenever something changed or may have been lost."""

from __future__ import annotations

import threading
from pathlib import Path

from pydantic import ValidationError

from luhyaapi import log
from luhyaapi.contracts.commands import SegmentsSet
from luhyaapi.contracts.specs import MachineSpec
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.files import write_atomic
from nc.drivers.base import Guest, NodeEdge, NodeNetwork
from nc.services.wanted import WantedFiles

_log = log.get(__name__)


class Guards:
    """The guests as the orders of this node say, read once and kept; and the last word of its cluster, which ``file`` remembers.

    Each verb raises Failed(network | missing); what it was about is not among the guests then.
    """

    def __init__(self, network: NodeNetwork, wanted: WantedFiles, file: Path) -> None:
        self._network, self._wanted, self._file = network, wanted, file
        self._lock = threading.Lock()
        self._guests: dict[str, Guest] | None = None
        self.word: SegmentsSet | None = self._remembered()

    def stand(self, spec: MachineSpec) -> None:
        """Its cards are guarded, beside all others."""
        with self._lock:
            guests, new = self._known(), Guest(spec.name, spec.nics)
            self._tell(guests | {spec.instance: new})
            guests[spec.instance] = new

    def leave(self, instance: str) -> None:
        """An instance has gone, with its taps."""
        with self._lock:
            guests = self._known()
            if instance in guests:
                self._tell({each: guest for each, guest in guests.items() if each != instance})
                del guests[instance]

    def renew(self) -> None:
        """All of it again, as it is wanted now."""
        with self._lock:
            self._guests = None
            self._tell(self._known())
            if self.word:
                self._network.span(self.word.segments)

    def hear(self, word: SegmentsSet) -> None:
        """What the cluster says of the edge; an older word than the last one changes nothing."""
        with self._lock:
            if self.word and word.number <= self.word.number:
                return
            before, self.word = self.word, word
            try:
                self._network.span(word.segments)
                self._tell(self._known())
            except BaseException:
                self.word = before
                raise
            write_atomic(self._file, word.model_dump_json().encode())

    def edge(self) -> NodeEdge:
        """What its network was told, or is told next."""
        with self._lock:
            return self._edge(self._known())

    def _tell(self, guests: dict[str, Guest]) -> None:
        self._network.guard(self._edge(guests))

    def _edge(self, guests: dict[str, Guest]) -> NodeEdge:
        word = self.word
        allow = {each.instance: each.allow for each in word.allow} if word else {}
        return NodeEdge(dict(guests), word.forwards if word else (), allow)

    def _known(self) -> dict[str, Guest]:
        if self._guests is None:
            everyone = map(self._wanted.read, self._wanted.all())
            self._guests = {
                each.spec.instance: Guest(each.spec.name, each.spec.nics) for each in everyone if each and each.state != InstanceState.DELETED
            }
        return self._guests

    def _remembered(self) -> SegmentsSet | None:
        try:
            return SegmentsSet.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as e:
            _log.warning("the last word about this node's edge cannot be read; its cluster says it again", why=str(e)[:200])
            return None
