"""The ways into a guest that runs, beside its screen: its serial console, and those of its ports that its node forwards."""

from __future__ import annotations

from luhyaapi.contracts.vocabulary import DomainState
from luhyaapi.errors import Refused
from luhyaapi.wire import stream
from nc.drivers.base import Hypervisor
from nc.services import belongings
from nc.services.serial import Serials
from nc.services.wanted import WantedFiles


class Ways:
    """By instance id; only asked, never changing anything."""

    def __init__(self, hypervisor: Hypervisor, wanted: WantedFiles) -> None:
        self._hypervisor = hypervisor
        self._wanted = wanted
        self._serials = Serials()

    def serial(self, instance: str) -> stream.Local:
        """An end of its serial console. Raises Refused(state | quota | not_found)."""
        folder, facts = self._wanted.folder(instance), self._hypervisor.inspect(instance)
        at = belongings.serial_of(folder)
        if facts.state is not DomainState.RUNNING:
            raise Refused("state", "The instance has no serial console now", f"on its node it is {facts.state}", hint="Start it first.")
        if isinstance(self._hypervisor.screen(facts, at), int):
            raise Refused("state", "The instance has no serial console", "its hypervisor offers none")
        if not at.is_socket():
            raise Refused("state", "This machine has a serial console after its next start", "it was started before there were any")
        return self._serials.join(instance, at, folder / "console.log")

    def forwarded(self, instance: str, port: int) -> int:
        """The port of this host's loopback at which that port of the guest is reached. Raises Refused(state | not_found)."""
        wanted = self._wanted.read(instance)
        if wanted is None or self._hypervisor.inspect(instance).state is not DomainState.RUNNING:
            raise Refused("state", "The instance does not run", hint="Start it first.")
        found = {f.guest_port: f.port for nic in wanted.spec.nics for f in nic.forwards}
        if port not in found:
            reached = ", ".join(map(str, sorted(found))) or "none"
            raise Refused("not_found", f"Port {port} of the instance is not reached here", f"its node runs without rights and forwards these: {reached}")
        return found[port]
