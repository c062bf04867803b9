"""Handlers of the SC: what every acting role has; volumes add theirs here."""

from __future__ import annotations

from luhyaapi.command.control import CancelTask, RefreshHost

__all__ = ["CancelTask", "RefreshHost"]
