"""`educloud user` whole: its verbs stand in several modules."""

from __future__ import annotations

from deploy.cli import account_requests, departures
from deploy.cli.users import app

__all__ = ["account_requests", "app", "departures"]
