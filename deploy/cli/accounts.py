"""`educloud user` whole: its verbs stand in several modules."""

from __future__ import annotations

from deploy.cli import departures
from deploy.cli.users import app

__all__ = ["app", "departures"]
