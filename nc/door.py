"""The NC's door: health and metrics."""

from __future__ import annotations

from luhyaapi.wire.http import Door
from nc.services.office import Office


def make(office: Office) -> Door:
    """The door, not yet open."""
    host = office.agent.settings.host
    return Door("nc", host.listen, host.door_port, [], ready=lambda: _reasons(office))


def _reasons(office: Office) -> list[str]:
    connected = office.agent.up is not None and office.agent.up.is_connected()
    return [why for why in ("" if connected else "not connected to the CC", office.trouble) if why]
