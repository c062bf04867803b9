"""Walrus's byte door, for the CLC (uploads, downloads) and the CCs (downloads)."""

from __future__ import annotations

from luhyaapi.errors import Refused
from luhyaapi.wire import tls
from luhyaapi.wire.blobs import blob_routes, block_routes, draft_routes, upload_routes
from luhyaapi.wire.http import Door
from luhyaapi.wire.identity import public_key
from luhyaapi.wire.signing import open_ticket
from walrus.services.office import Office
from walrus.services.qcow2_view import Qcow2Blobs


def make(office: Office) -> Door:
    """The door, not yet open."""
    agent = office.agent
    boss = public_key(agent.membership.boss_certificate, agent.membership.authority)

    def authorize(ticket: str, subject: str, action: str) -> None:
        claims = open_ticket(boss, ticket)
        if action == "put":
            if claims.get("put") != subject:
                raise Refused("forbidden", "The ticket is for another upload")
            office.library.open_upload(subject, sorted(claims.get("parts", {}).items()))
        elif action == "bring":
            if claims.get("bring") != subject:
                raise Refused("forbidden", "The ticket is for another draft")
        elif subject not in claims.get(action, ()):
            raise Refused("forbidden", "The ticket is for something else")

    host = agent.settings.host
    return Door(
        "walrus", host.listen, host.door_port,
        [
            *blob_routes("walrus", office.store, authorize),
            *blob_routes("walrus", Qcow2Blobs(office.store), authorize, "/qcow2"),
            *block_routes("walrus", office.store, authorize),
            *upload_routes("walrus", office.library, authorize),
            *draft_routes("walrus", office.library.drafts, authorize),
        ],
        ready=lambda: _lacking(office),
        secured=tls.doors(host),
    )


def _lacking(office: Office) -> list[str]:
    return [*office.agent.unconnected(), *filter(None, [office.objects.trouble])]
