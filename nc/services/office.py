"""What the NC works with; handed to every handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luhyaapi.transfer.cache import BlobCache
from nc.services.domains import Domains

if TYPE_CHECKING:
    from luhyaapi.agent import Agent


@dataclass
class Office:
    """The node's hands."""

    agent: Agent
    cache: BlobCache
    domains: Domains
