"""What Walrus works with; handed to every handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walrus.services.blockstore import BlockStore
from walrus.services.imports import Imports
from walrus.services.library import Library
from walrus.services.objects import WatchedStore
from walrus.services.scrub import Scrub

if TYPE_CHECKING:
    from luhyaapi.agent import Agent


@dataclass
class Office:
    """The store's hands."""

    agent: Agent
    objects: WatchedStore
    store: BlockStore
    library: Library
    imports: Imports
    scrub: Scrub
