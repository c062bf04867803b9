"""The CC's rhythm: its facts; leases against placements, DHCP against leases, flows against their deadlines."""

from __future__ import annotations

from cc.services import access, edge, flows, lent, listings, placements, pool, prefetches, segments, strangers
from cc.services.office import Office
from luhyaapi import clock, log
from luhyaapi.agent import Agent
from luhyaapi.edge import connections
from luhyaapi.errors import Trouble
from luhyaapi.facts import hello, host_facts
from luhyadb import memory, outbox
from luhyadb.models import Child

_log = log.get(__name__)
_DAY_S = 86400.0
_TELL_ALL_EVERY_S = 600.0
_TELL_ALL_AT_FIRST_S = 120.0
"""When the process is new, with each repair: of what is just being done a listing says nothing."""


class Beat:
    """Plugs into the agent: ``hello``, ``beat`` and ``reconcile``."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._trouble = ""
        self._strangers = ""
        self._told_all_at: float | None = None

    @property
    def _office(self) -> Office:
        office: Office = self._agent.services
        return office

    def hello(self) -> None:
        """We are there."""
        network = self._agent.settings.network
        self._agent.report(hello(self._agent.me, self._agent.shape, self._agent.settings, subnet=network.subnet, subnet6=network.subnet6))
        self._told_all_at = None

    def beat(self) -> None:
        """How we are."""
        agent = self._agent
        full = connections.trouble() if agent.settings.network.driver == "dnsmasq" else ""
        services = {"broker": "ok" if agent.down and agent.down.is_connected() else "does not answer",
                    "dhcp": self._trouble or "ok", "guests": self._strangers or "ok", "connections": full or "ok"}
        agent.report(host_facts(
            agent.me, agent.settings, services=services, blobs=tuple(self._office.cache.sha256s()), halves=self._office.cache.halves(),
            open_commands=agent.journal.counts()[0] + outbox.waiting(), health=self._trouble or full or self._strangers,
            children=dict(Child.objects.values_list("pk", "draining")), networks=pool.networks(),
            access=access.heard(), pools=lent.pools_now(self._office),
        ))

    def reconcile(self) -> None:
        """Repair what does not fit; now and then say which places there are, whatever was lost on the way."""
        now = clock.monotonic()
        is_new = now - self._office.since < _TELL_ALL_AT_FIRST_S
        if is_new or self._told_all_at is None or now - self._told_all_at > _TELL_ALL_EVERY_S:
            self._told_all_at = now
            placements.tell_all(self._office)
        listings.look(self._office)
        self._office.arrivals.go_on()
        for instance in placements.sweep():
            _log.warning("lease without a placement given back", instance=instance)
        flows.look_after(self._office)
        if self._office.tunnels:
            self._office.tunnels.look_after()
        prefetches.look_after(self._office)
        self._strangers = strangers.look(self._office)
        access.expire(self._office)
        self._office.cache.sweep(_DAY_S)
        with memory.atomic():
            segments.tell(self._office)
        try:
            edge.apply(self._office)
            self._trouble = ""
        except Trouble as e:
            self._trouble = f"{e.what}: {e.why}"
            raise
