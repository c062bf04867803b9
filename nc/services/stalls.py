"""Guests that stand still because the disk of this node had no room for what they wrote: told, and let go on once there is room."""

from __future__ import annotations

from pathlib import Path

from luhyaapi import clock, facts, log
from luhyaapi.contracts.specs import DomainFacts, Fault
from luhyaapi.errors import Failed
from nc.drivers.base import Hypervisor

_log = log.get(__name__)
ROOM_MIB = 256
"""So much has to be free before a guest goes on: with less it would stand still again at once."""
EVERY_S = 60.0
"""One guest is let go on no more often than that."""


class Stalls:
    """What is known of them since this process began. ``folder`` is where the disks lie."""

    def __init__(self, hypervisor: Hypervisor, folder: Path) -> None:
        self._hypervisor, self._folder = hypervisor, folder
        self._tried: dict[str, float] = {}
        self.instances: set[str] = set()

    def seen(self, found: DomainFacts) -> DomainFacts:
        """How a guest that should run is, after it was let go on if there is room. Raises what ``start`` of the hypervisor raises."""
        if found.io_error and self._may_go_on(found.instance):
            _log.info("guest goes on", instance=found.instance)
            found = self._hypervisor.start(found.instance)
        if found.io_error and found.instance not in self.instances:
            _log.warning("guest stands still: no room for what it writes", instance=found.instance, free_mib=self._free_mib())
        (self.instances.add if found.io_error else self.instances.discard)(found.instance)
        return found

    def forget(self, instance: str) -> None:
        """It does not run."""
        self.instances.discard(instance)
        self._tried.pop(instance, None)

    def _may_go_on(self, instance: str) -> bool:
        now = clock.monotonic()
        if now - self._tried.get(instance, now - EVERY_S) < EVERY_S or self._free_mib() < ROOM_MIB:
            return False
        self._tried[instance] = now
        return True

    def _free_mib(self) -> int:
        return facts.disk_free(self._folder) // (1024 * 1024)


def fault() -> Fault:
    """What is told of a guest that stands still."""
    trouble = Failed("disk_full", "The guest stands still", "its node had no room for what it wrote to its disk",
                     hint="Free space on its node; the guest goes on by itself within a minute.")
    return Fault(**trouble.wire())
