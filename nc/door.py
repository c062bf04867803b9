"""The NC's door: health, metrics, and blocks of images for its neighbours."""

from __future__ import annotations

from luhyaapi.errors import Refused
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.transfer.growing import PATIENCE_S
from luhyaapi.wire import tls
from luhyaapi.wire.blobs import block_routes, trace_routes
from luhyaapi.wire.http import Door
from luhyaapi.wire.signing import open_ticket
from nc.services.office import Office


def make(office: Office) -> Door:
    """The door, not yet open."""
    host = office.agent.settings.host

    def authorized(*asked: str) -> None:
        authorize(office, *asked)

    routes = [
        *block_routes("nc", CacheGiver(office.cache, PATIENCE_S), authorized), *trace_routes("nc", office.domains.exports.traces, authorized),
    ]
    return Door("nc", host.listen, host.door_port, routes, ready=lambda: _reasons(office), secured=tls.doors(host))


def authorize(office: Office, ticket: str, sha256: str, action: str) -> None:
    """Whether a ticket of our boss opens these bytes, here. Raises Refused(forged | expired | forbidden)."""
    agent = office.agent
    key = agent.boss_key(agent.boss)
    if key is None:
        raise Refused("forbidden", "This node has no boss whose tickets it could know")
    claims = open_ticket(key, ticket)
    if claims.get("at") != agent.me or sha256 not in claims.get(action, ()):
        raise Refused("forbidden", "The ticket is for something else")


def _reasons(office: Office) -> list[str]:
    return [*office.agent.unconnected(), *filter(None, [office.trouble])]
