"""The CC's door for its children: joining, and bytes of images."""

from __future__ import annotations

from typing import Any

from cc.services import children, library, prefetches
from cc.services.ascent import Ascent
from cc.services.office import Office
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer.blocks import Index
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.transfer.growing import PATIENCE_S
from luhyaapi.wire import tls
from luhyaapi.wire.blobs import block_routes, draft_routes
from luhyaapi.wire.http import Answer, Door, Request, json_answer, json_route, route
from luhyaapi.wire.signing import open_ticket


class _Giver(CacheGiver):
    """Gives what the cluster has; of what it is about to fetch it says so."""

    def __init__(self, office: Office) -> None:
        super().__init__(office.cache, PATIENCE_S)
        self._office = office

    def index(self, sha256: str) -> Index:
        try:
            return super().index(sha256)
        except Refused as e:
            with self._office.agent.memory():
                if not library.expects(self._office, sha256) and sha256 not in prefetches.awaited(self._office):
                    raise
            raise Unavailable("transfer", "The bytes are on their way to the cluster", sha256[:12]) from e


def make(office: Office) -> Door:
    """The door, not yet open."""
    host = office.agent.settings.host

    def ask(form: Any, request: Request) -> Any:
        with office.agent.memory():
            return children.ask(office, form, request.remote)

    def fetch(request: Request) -> Answer:
        with office.agent.memory():
            form = children.answer(office, request.params["request"])
        return json_answer({"state": "new"}, 202) if form is None else json_answer(form)

    def authorize(ticket: str, subject: str, action: str) -> None:
        claims = open_ticket(office.agent.key.public_key(), ticket)
        if subject not in (claims.get(action, ()) if action == "get" else (claims.get(action),)):
            raise Refused("forbidden", "The ticket is for something else")

    return Door("cc", host.listen, host.door_port, [
        route("GET", "/cc/api/1.0/authority/?", lambda _request: json_answer({"authority": office.agent.membership.authority})),
        json_route("/cc/api/1.0/join/?", ask),
        route("GET", "/cc/api/1.0/join/(?P<request>[A-Za-z0-9_-]{20,64})/?", fetch),
        *block_routes("cc", _Giver(office), authorize),
        *draft_routes("cc", Ascent(office), authorize),
    ], ready=office.agent.unconnected, secured=tls.doors(host))
