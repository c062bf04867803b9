"""What Walrus works with; handed to every handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walrus.services.blockstore import BlockStore
from walrus.services.library import Library

if TYPE_CHECKING:
    from luhyaapi.agent import Agent


@dataclass
class Office:
    """The store's hands."""

    agent: Agent
    store: BlockStore
    library: Library
