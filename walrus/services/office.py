"""What Walrus works with; handed to every handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luhyaapi.transfer.cache import BlobCache
from walrus.services.library import Library

if TYPE_CHECKING:
    from luhyaapi.agent import Agent


@dataclass
class Office:
    """The store's hands."""

    agent: Agent
    store: BlobCache
    library: Library
