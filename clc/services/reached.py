"""What becomes of that which leads to an instance, when its place comes or goes."""

from __future__ import annotations

from clc.services import access, elastic, forwards, security_groups
from luhyadb.models import Instance


def placed(row: Instance) -> None:
    """It has a place in its cluster. In a transaction of the caller's."""
    elastic.placed(row)
    access.placed(row)


def unplaced(row: Instance) -> None:
    """Its place was taken back."""
    forwards.unplaced(row)


def forget(row: Instance) -> None:
    """It is no more: its rules and forwards neither, its public address is free for another instance of its owner."""
    elastic.forget(row)
    forwards.forget(row)
    security_groups.forget(row)
    access.forget(row)
