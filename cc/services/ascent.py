"""What nodes push up passes through here to the store: the cluster keeps nothing of it."""

from __future__ import annotations

import json
from typing import Any

from cc.services import flows
from cc.services.office import Office
from luhyaapi.contracts.commands import InstanceSubmit
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.base import Source, never
from luhyaapi.transfer.download import PROTOCOLS
from luhyaapi.wire import tls
from luhyaapi.wire.identity import role_name
from luhyadb.models import FlowRun


class Ascent:
    """Takes drafts as long as a submit is under way here, and hands them on with the ticket of its order."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def begin(self, draft: str, size: int, name: str, index: bytes) -> dict[str, Any]:
        """See :class:`luhyaapi.wire.blobs.Drafts`."""
        return self._pass_on(draft, f"index?size={size}&name={name}", index)

    def take(self, draft: str, data: bytes) -> None:
        """See :class:`luhyaapi.wire.blobs.Drafts`."""
        self._pass_on(draft, "blocks", data)

    def _pass_on(self, draft: str, what: str, body: bytes) -> dict[str, Any]:
        order = self._order(draft)
        url = f"{order.url}/walrus/api/1.0/drafts/{draft}/{what}"
        trust = tls.trust(self._office.agent.identity, role_name(Role.WALRUS))
        source = Source(url, {"Authorization": f"Ticket {order.ticket}"}, trust)
        answer = PROTOCOLS[url.split(":", 1)[0]].put(source, body, never)
        try:
            said = json.loads(answer)
        except ValueError as e:
            raise Failed("transfer", "The store answered something else than was asked", str(e)) from e
        return said if isinstance(said, dict) else {}

    def _order(self, draft: str) -> InstanceSubmit:
        with self._office.agent.memory():
            run = FlowRun.objects.filter(kind=InstanceSubmit.kind, task=draft, ended_at=0).first()
            order = flows.order_of(run) if run else None
        if not isinstance(order, InstanceSubmit):
            raise Refused("state", "Nothing is being submitted under that name", "it ended, or was cancelled")
        return order
