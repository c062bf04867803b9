"""What the NC works with; handed to every handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luhyaapi.transfer.cache import BlobCache
from nc.services.domains import Domains

if TYPE_CHECKING:
    from luhyaapi.agent import Agent


NOT_ASKED = "the hypervisor has not answered yet"


@dataclass
class Office:
    """The node's hands."""

    agent: Agent
    cache: BlobCache
    domains: Domains
    trouble: str = NOT_ASKED
    """Why no guest can be run here now; empty when the hypervisor answers."""
