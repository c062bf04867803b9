"""What the SC works with; handed to every handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luhyaapi.agent import Agent


@dataclass
class Office:
    """The storage's hands."""

    agent: Agent
