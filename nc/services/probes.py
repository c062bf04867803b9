"""What this node sees of the way from one of its guests to the outside: looked at when it is asked for, never repaired here."""

from __future__ import annotations

from luhyaapi.contracts.specs import LinkFacts, Nic
from luhyaapi.contracts.vocabulary import DomainState, LinkState
from luhyaapi.edge import links
from luhyaapi.errors import Trouble
from nc.drivers.base import Hypervisor, NodeNetwork
from nc.services.guards import Guards
from nc.services.wanted import Wanted, WantedFiles


class Probes:
    """Of the guests this node was told to run."""

    def __init__(self, hypervisor: Hypervisor, network: NodeNetwork, wanted: WantedFiles, guards: Guards) -> None:
        self._hypervisor, self._network, self._wanted, self._guards = hypervisor, network, wanted, guards

    def look(self, instance: str) -> tuple[LinkFacts, ...]:
        """Whether it runs, and each link of each of its cards; of one that does not run there are none."""
        wanted = self._wanted.read(instance)
        if wanted is None:
            return (links.broken("guest", "The instance is not on this node", "its node has no order to run it", "Start the instance."),)
        guest, = links.seen("", [("guest", lambda: self._guest(wanted))])
        if guest.state is LinkState.BROKEN:
            return (guest,)
        found = [guest]
        for nic in wanted.spec.nics:
            found += self._card(instance, nic)
        return tuple(found)

    def _guest(self, wanted: Wanted) -> LinkFacts:
        state = self._hypervisor.inspect(wanted.spec.instance).state
        if state is DomainState.RUNNING and wanted.is_offline:
            return links.broken("guest", "The guest is offline", "it has not said that its first boot is done", "Wait for that, or connect the instance.")
        if state is DomainState.RUNNING:
            return links.ok("guest", "The guest runs")
        return links.broken("guest", "The guest does not run", f"on its node it is {state}", "Start the instance.")

    def _card(self, instance: str, nic: Nic) -> tuple[LinkFacts, ...]:
        try:
            segments = self._guards.word.segments if self._guards.word else ()
            return self._network.look(instance, nic, self._guards.edge(), segments)
        except Trouble as e:
            return (links.unseen("tap", e).model_copy(update={"card": nic.ip}),)
