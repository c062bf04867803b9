"""Orders about the node itself."""

from __future__ import annotations

from luhyaapi.command import control
from luhyaapi.command.control import CancelTask
from luhyaapi.contracts.commands import CardsProbe, HostRefresh, SegmentsSet
from luhyaapi.contracts.reports import ProbeFacts
from luhyaapi.role import Handler, Job, handles

__all__ = ["CancelTask", "ProbeCards", "RefreshHost", "SetSegments"]


@handles(HostRefresh)
class RefreshHost(control.RefreshHost):
    """All facts, and which of the doubtful instances are not here at all."""

    def run(self, job: Job, command: HostRefresh) -> None:
        """Raises Unavailable while the hypervisor cannot be asked."""
        super().run(job, command)
        if command.doubtful:
            job.services.domains.disown(command.doubtful, job.services.agent.journal.open_subjects())


@handles(SegmentsSet)
class SetSegments(Handler[SegmentsSet]):
    """Which other hosts the networks of this node reach, and what reaches its guests."""

    def run(self, job: Job, command: SegmentsSet) -> None:
        """An older word than the last one changes nothing."""
        job.services.domains.guards.hear(command)


@handles(CardsProbe)
class ProbeCards(Handler[CardsProbe]):
    """How the way from a guest is on this node."""

    def run(self, job: Job, command: CardsProbe) -> None:
        """What cannot be seen is said to be unknown."""
        agent = job.services.agent
        found = job.services.domains.probes.look(command.instance)
        agent.report(ProbeFacts(instance=command.instance, probe=command.probe, host=agent.me, links=found), job.task)
