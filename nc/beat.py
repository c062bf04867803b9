"""The node's rhythm: facts, and domains wanted against domains found."""

from __future__ import annotations

import queue

from luhyaapi import clock, log
from luhyaapi.agent import Agent
from luhyaapi.contracts.vocabulary import Accelerator
from luhyaapi.errors import Trouble
from luhyaapi.facts import hello, host_facts
from nc.drivers.base import Hypervisor, Probe, Watched
from nc.services import disks
from nc.services.office import NOT_ASKED, Office

_log = log.get(__name__)
_DAY_S = 86400.0
_TELL_ALL_EVERY_S = 600.0
_UNPROVED = Probe("", "", Accelerator.UNPROVED, NOT_ASKED)


class Beat:
    """Plugs into the agent: ``hello``, ``beat``, ``reconcile``; ``prove`` and ``look`` run in loops of their own."""

    def __init__(self, agent: Agent, hypervisor: Hypervisor) -> None:
        self._agent = agent
        self._hypervisor = hypervisor
        self._probe = _UNPROVED
        self._told_all_at = clock.monotonic()
        self._changed: queue.SimpleQueue[str] = queue.SimpleQueue()
        if isinstance(hypervisor, Watched):
            hypervisor.watch(self._changed.put)

    @property
    def _office(self) -> Office:
        office: Office = self._agent.services
        return office

    def hello(self) -> None:
        """We are there, with this hypervisor; and so are our instances."""
        p = self._probe
        self._agent.report(hello(
            self._agent.me, self._agent.shape, self._agent.settings, hypervisor=f"{p.name} {p.version}".strip(),
            accelerator=p.accelerator, accelerator_why=p.why,
        ))
        self._office.domains.greet(self._agent.journal.open_subjects())

    def beat(self) -> None:
        """How we are; and no guest writes its console log without end."""
        agent, wanted, word = self._agent, self._office.domains.wanted, self._office.domains.guards.word
        disks.keep_logs_short(wanted.folder(instance) / "console.log" for instance in wanted.all())
        agent.report(host_facts(
            agent.me, agent.settings, services=self._services(), guests=self._office.domains.counts(),
            blobs=tuple(self._office.cache.sha256s()), halves=self._office.cache.halves(), open_commands=agent.journal.counts()[0],
            health=self._office.trouble,
            strangers=self._office.domains.strangers, segments=word.number if word else 0,
        ))

    def _services(self) -> dict[str, str]:
        stalled = len(self._office.domains.stalls.instances)
        disk = {"disk": f"has no room for what guests write: {stalled} of them stand still"} if stalled else {}
        return {"hypervisor": self._office.trouble or "ok", **disk}

    def prove(self) -> None:
        """Ask the hypervisor what it is; the first time this boots the accelerator proof. A change is told at once.

        Guests that should run then wait no longer for the next comparison.
        """
        try:
            probe, trouble = self._hypervisor.probe(), ""
        except Trouble as e:
            probe, trouble = self._probe, f"{e.what}: {e.why}"
        if (probe, trouble) != (self._probe, self._office.trouble):
            self._probe, self._office.trouble = probe, trouble
            self.hello()
            self.beat()
            for loop in self._agent.loops:
                if loop.name == "reconcile":
                    loop.wake()

    def reconcile(self) -> None:
        """Domains wanted against domains found; now and then all of them are told, whatever was lost on the way.

        Each part is done also when another fails; then what the first one raised is raised at the end.
        """
        if clock.monotonic() - self._told_all_at > _TELL_ALL_EVERY_S:
            self._told_all_at = clock.monotonic()
            self._office.domains.tell_all()
        domains, failed = self._office.domains, None
        for part in (lambda: self._office.cache.sweep(_DAY_S), domains.unpin_fetched, domains.exports.go_on, self._compare, domains.guards.renew):
            try:
                part()
            except Exception as error:
                if failed:
                    _log.warning("step failed", loop="reconcile", why=str(error))
                failed = failed or error
        if failed:
            raise failed

    def _compare(self) -> None:
        if self._probe.accelerator is not Accelerator.UNPROVED or self._probe.name:
            self._office.domains.reconcile(self._agent.journal.open_subjects())

    def look(self) -> None:
        """What the hypervisor told of."""
        busy = self._agent.journal.open_subjects()
        while True:
            try:
                instance = self._changed.get_nowait()
            except queue.Empty:
                return
            if instance:
                self._office.domains.look(instance, busy)
