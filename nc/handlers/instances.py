"""Handlers: DomainStart, DomainConnect, DomainStop, DomainDelete, MachineTell, StreamOpen."""

from __future__ import annotations

from collections.abc import Callable

from luhyaapi.contracts.commands import DomainConnect, DomainDelete, DomainStart, DomainStop, MachineTell, StreamOpen
from luhyaapi.contracts.reports import MachinesFacts
from luhyaapi.errors import Trouble, Unavailable
from luhyaapi.role import Done, Handler, Job, handles
from luhyaapi.wire import stream


@handles(DomainStart)
class StartDomain(Handler[DomainStart]):
    """Have it running."""

    def run(self, job: Job, command: DomainStart) -> Done:
        e = job.envelope
        if not command.boot:
            job.services.domains.prepare(job, command.spec, e.gen, e.fence)
            return Done()
        facts = job.services.domains.start(job, command.spec, e.gen, e.fence)
        return Done({"display": facts.display, "accelerator": facts.accelerator})


@handles(DomainConnect)
class ConnectDomain(Handler[DomainConnect]):
    """Have its cards connected."""

    def run(self, job: Job, command: DomainConnect) -> None:
        job.services.domains.connect(command.instance, job.envelope.gen, job.envelope.fence)


@handles(DomainStop)
class StopDomain(Handler[DomainStop]):
    """Have it stopped."""

    def run(self, job: Job, command: DomainStop) -> None:
        job.services.domains.stop(job, command.instance, command.grace_s, job.envelope.gen, job.envelope.fence)


@handles(DomainDelete)
class DeleteDomain(Handler[DomainDelete]):
    """Have nothing of it."""

    tries = 4

    def is_past_cancelling(self, job: Job, command: DomainDelete) -> bool:
        return bool(job.services.domains.is_going(command.instance))

    def run(self, job: Job, command: DomainDelete) -> None:
        job.services.domains.delete(command.instance, job.envelope.gen, job.envelope.fence)


@handles(MachineTell)
class TellMachine(Handler[MachineTell]):
    """Say what of it is here; or of which there is or will be something."""

    def run(self, job: Job, command: MachineTell) -> None:
        """Raises Unavailable while the hypervisor cannot be asked, or a start is still to be begun."""
        agent, domains = job.services.agent, job.services.domains
        starts = {row.subject for row in agent.journal.open_rows() if row.kind == DomainStart.kind}
        if not command.instance:
            agent.report(MachinesFacts(node=agent.me, instances=tuple(sorted({*domains.wanted.all(), *starts}))), job.task)
        elif command.instance in starts:
            raise Unavailable("busy", "It is about to be started here")
        else:
            agent.report(domains.machine(command.instance), job.task)
            domains.tell_again(command.instance)


@handles(StreamOpen)
class OpenStream(Handler[StreamOpen]):
    """Dial outward and join a screen, a log, a serial console or a forwarded port with the stream; or say there why not."""

    def run(self, job: Job, command: StreamOpen) -> None:
        agent, domains = job.services.agent, job.services.domains
        boss = stream.dialling(agent.membership, agent.identity)
        open_end: dict[str, Callable[[str], stream.Local]] = {
            "screen": domains.screen, "log": domains.log, "serial": domains.ways.serial,
            "tunnel": lambda it: domains.ways.forwarded(it, command.port),
        }
        try:
            local = open_end[command.channel](command.instance)
        except Trouble as error:
            stream.refuse(boss, command.stream, agent.me, error)
            raise
        stream.bridge(local, boss, command.stream, agent.me)
