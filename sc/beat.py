"""The storage's rhythm: its facts."""

from __future__ import annotations

from luhyaapi.agent import Agent
from luhyaapi.facts import hello, host_facts


class Beat:
    """Plugs into the agent: ``hello``, ``beat`` and ``reconcile``."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def hello(self) -> None:
        """We are there."""
        self._agent.report(hello(self._agent.me, self._agent.shape, self._agent.settings))

    def beat(self) -> None:
        """How we are."""
        self._agent.report(host_facts(self._agent.me, self._agent.settings, open_commands=self._agent.journal.counts()[0]))

    def reconcile(self) -> None:
        """Nothing is exported yet."""
