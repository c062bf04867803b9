"""The store's rhythm: facts, and uploads nobody finished."""

from __future__ import annotations

from luhyaapi.agent import Agent
from luhyaapi.facts import hello, host_facts
from walrus.services.office import Office

_NAMED_AT_MOST = 100


class Beat:
    """Plugs into the agent: ``hello``, ``beat`` and ``reconcile``."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    @property
    def _office(self) -> Office:
        office: Office = self._agent.services
        return office

    def hello(self) -> None:
        """We are there."""
        self._agent.report(hello(self._agent.me, self._agent.shape, self._agent.settings))

    def beat(self) -> None:
        """How we are."""
        agent, office = self._agent, self._office
        blobs, damaged = (office.store.sha256s(), office.scrub.hit()) if office.store.is_open else ((), ())
        agent.report(host_facts(
            agent.me, agent.settings, {"objects": office.objects.trouble or "ok"}, blobs=tuple(blobs), damaged=tuple(damaged)[:_NAMED_AT_MOST],
            open_commands=agent.journal.counts()[0],
        ))

    def reconcile(self) -> None:
        """Uploads that were left alone for a day go, and blocks nobody needs; whether the objects are within reach."""
        self._office.library.sweep()
        self._office.objects.look()
        self._office.store.collect()
