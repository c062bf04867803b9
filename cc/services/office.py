"""What the CC works with: its drivers, its cache, its links; handed to every handler and reducer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cc.drivers.base import EdgeDriver
from cc.services.arrivals import ClusterArrivals
from cc.services.asked import Asked
from cc.services.recalled import Listing, Recalled
from cc.services.roll import Roll
from cc.services.rows import Rows
from cc.services.shared import Shared
from luhyaapi import clock
from luhyaapi.contracts.reports import HostFacts
from luhyaapi.contracts.specs import PoolFacts
from luhyaapi.transfer.cache import BlobCache

if TYPE_CHECKING:
    from cc.services.segments import Said
    from cc.services.tunnels import Tunnels
    from luhyaapi.agent import Agent
    from luhyaapi.wire.stream import Dialling, Exchange


@dataclass
class Office:
    """The cluster's hands and its picture of the nodes; the picture is disposable."""

    agent: Agent
    edge: EdgeDriver
    cache: BlobCache
    arrivals: ClusterArrivals
    joins: Path
    streams: Exchange | None = None
    boss: Dialling | None = None
    """Where our own streams are dialled to."""
    tunnels: Tunnels | None = None
    facts: dict[str, HostFacts] = field(default_factory=dict)
    saved: dict[str, float] = field(default_factory=dict)
    """When the last sign of life of a child went into the database."""
    strangers: dict[tuple[str, str], float] = field(default_factory=dict)
    """Node and instance of guests nobody ordered: since when, or until when they are waited for."""

    unplaced: dict[str, float] = field(default_factory=dict)
    """Nodes that have more instances than are placed there: since when."""
    roll: Roll = field(default_factory=Roll)
    """The nodes in the order of their room, between one placement and the next."""
    holders: dict[str, set[str]] = field(default_factory=dict)
    """By sha256, the hosts that have such a file."""
    segments: dict[str, Said] = field(default_factory=dict)
    """What each node was told of the hosts its networks span."""
    since: float = field(default_factory=clock.monotonic)
    """When this process began, in monotonic seconds: the clock may be set meanwhile."""
    begun: set[str] = field(default_factory=set)
    """Orders whose flows this process opened."""
    doubts: dict[str, float] = field(default_factory=dict)
    """Orders of which their node is asked whether they came to their end, and since when."""
    answers: int = 0
    """How many listings nodes gave."""
    listings: dict[str, Listing] = field(default_factory=dict)
    """By node, which instances it was told of, as it said since this process began."""
    twice: dict[tuple[str, str], float] = field(default_factory=dict)
    """Node and instance of those a node said it has and that are placed on another; when it said so, in monotonic seconds."""
    unknown: tuple[float, str, dict[str, str]] | None = None
    """When it was looked (monotonic seconds): a node that has not answered, and those of them that have no place here with their nodes."""
    recalls: dict[str, Recalled] = field(default_factory=dict)
    """Instances whose place this cluster does not know, and what their nodes said."""
    lost: set[str] = field(default_factory=set)
    """Hosts that are gone for good: nobody waits for their answer."""
    asked: Asked = field(default_factory=Asked)
    """Who answered for the addresses of instances that are about to start."""
    lends: tuple[int, float, tuple[PoolFacts, ...]] = (-1, 0.0, ())
    """How much is lent: of which number of the pool, when that was counted, and what was found."""
    rows: Rows = field(default_factory=Rows)
    """Who was told to fetch what."""
    applying: Shared = field(default_factory=Shared)
    """The edge is being made."""
    ruling: Shared = field(init=False)
    """Its packet rules are; never at once with the edge, or what was read before would undo what was made since."""

    def __post_init__(self) -> None:
        self.ruling = Shared(self.applying.lock)

    def saw(self, report: HostFacts) -> None:
        """How a child is now."""
        before = self.facts.get(report.host)
        if before is None or before.blobs != report.blobs:
            for blob in before.blobs if before else ():
                self.holders.get(blob, set()).discard(report.host)
            for blob in report.blobs:
                self.holders.setdefault(blob, set()).add(report.host)
        self.facts[report.host] = report

    def forget(self, host: str) -> None:
        """A child is gone."""
        self.listings.pop(host, None)
        before = self.facts.pop(host, None)
        for blob in before.blobs if before else ():
            self.holders.get(blob, set()).discard(host)

    def holding(self, blobs: frozenset[str]) -> set[str]:
        """The hosts that have some of these files."""
        return set().union(*(self.holders.get(blob, ()) for blob in blobs))

    @property
    def door(self) -> str:
        """Where children fetch bytes."""
        return self.agent.settings.host.door
