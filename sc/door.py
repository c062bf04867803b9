"""The SC's door: health and metrics."""

from __future__ import annotations

from luhyaapi.wire.http import Door
from sc.services.office import Office


def make(office: Office) -> Door:
    """The door, not yet open."""
    host = office.agent.settings.host
    return Door("sc", host.listen, host.door_port, [],
                ready=office.agent.unconnected)
