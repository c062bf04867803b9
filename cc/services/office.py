"""What the CC works with: its drivers, its cache, its links; handed to every handler and reducer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cc.drivers.base import EdgeDriver
from luhyaapi.contracts.reports import HostFacts
from luhyaapi.transfer.cache import BlobCache

if TYPE_CHECKING:
    from luhyaapi.agent import Agent
    from luhyaapi.wire.stream import Exchange


@dataclass
class Office:
    """The cluster's hands and its picture of the nodes; the picture is disposable."""

    agent: Agent
    edge: EdgeDriver
    cache: BlobCache
    joins: Path
    streams: Exchange | None = None
    facts: dict[str, HostFacts] = field(default_factory=dict)
    saved: dict[str, float] = field(default_factory=dict)
    """When the last sign of life of a child went into the database."""
    strangers: dict[tuple[str, str], float] = field(default_factory=dict)
    """Node and instance of guests nobody ordered: since when, or until when they are waited for."""

    @property
    def door(self) -> str:
        """Where children fetch bytes."""
        return self.agent.settings.host.door
