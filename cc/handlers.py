"""Orders of the CLC: each opens a flow, or is the cluster's own step."""

from __future__ import annotations

from cc.services import (
    access,
    children,
    conflicts,
    edge,
    flows,
    lent,
    library,
    listings,
    losses,
    networks,
    placements,
    pool,
    prefetches,
    probes,
    recall,
    segments,
    steps,
    tunnels,
)
from luhyaapi import clock, log
from luhyaapi.contracts.commands import (
    AccessSet,
    EdgeApply,
    HostAdmit,
    HostDrain,
    HostLost,
    HostRefresh,
    HostRefuse,
    HostRemove,
    ImageDelete,
    ImageFetch,
    ImagePrefetch,
    InstanceConnect,
    InstanceDelete,
    InstanceReboot,
    InstanceRecall,
    InstanceRestore,
    InstanceRun,
    InstanceStop,
    InstanceSubmit,
    LeasesTell,
    LetterResend,
    NetworkProbe,
    NetworksSet,
    StreamOpen,
    TaskCancel,
)
from luhyaapi.errors import Refused, Trouble, Unavailable
from luhyaapi.role import PENDING, Done, Handler, Job, handles
from luhyaapi.wire import stream
from luhyadb import letters, memory, outbox
from luhyadb.models import Child, FlowRun

__all__ = ["steps"]

_log = log.get(__name__)


OnInstance = InstanceRun | InstanceStop | InstanceConnect | InstanceReboot | InstanceRestore | InstanceSubmit | InstanceDelete


class _Flow(Handler[OnInstance]):
    """Opens the flow of its order; the flow sends the Outcome. Orders on one instance take turns."""

    def run(self, job: Job, command: OnInstance) -> Done:
        recall.require(job.services, command.instance, command.node, job.envelope.fence)
        if isinstance(command, InstanceRun):
            listings.require(job.services, command.instance, job.envelope.gen)
        with memory.atomic():
            before = FlowRun.objects.filter(instance=command.subject, ended_at=0).exclude(pk=job.id).exists()
            if before:
                raise Unavailable("busy", "Something else is being done with this instance", "it waits for that to end")
            if flows.is_overtaken(job.envelope):
                raise Refused("state", "A newer order on this instance came first", "this one was late")
            flows.open_flow(job.envelope)
        job.services.begun.add(job.id)
        flows.go(job.services, job.id)
        return PENDING


@handles(InstanceRun)
class RunInstance(_Flow):
    """Place it, bring its image, give it an address, boot it."""


@handles(InstanceStop)
class StopInstance(_Flow):
    """Stop it on its node."""


@handles(InstanceConnect)
class ConnectInstance(_Flow):
    """Have its cards connected on its node."""


@handles(InstanceReboot)
class RebootInstance(_Flow):
    """Stop it and boot it in its place."""


@handles(InstanceRestore)
class RestoreInstance(_Flow):
    """Bring its image, stop it, give it a new system disk."""


@handles(InstanceSubmit)
class SubmitInstance(_Flow):
    """Stop it, and have what its guest wrote in the store."""


@handles(InstanceDelete)
class DeleteInstance(_Flow):
    """Leave nothing of it."""


@handles(InstanceRecall)
class RecallInstance(Handler[InstanceRecall]):
    """Know again where it is."""

    def run(self, job: Job, command: InstanceRecall) -> None:
        """That its node has nothing of it is told above."""
        recall.require(job.services, command.instance, command.node, job.envelope.fence)
        with memory.atomic():
            pool.alone()
            is_open = FlowRun.objects.filter(instance=command.instance, ended_at=0).exists()
            if not is_open and placements.find(command.instance) is None:
                job.services.agent.report(placements.facts(command.instance, job.task, job.envelope.fence))


@handles(ImageFetch)
class FetchImage(Handler[ImageFetch]):
    """Bring an image from Walrus into the cluster's cache."""

    def run(self, job: Job, command: ImageFetch) -> None:
        library.fetch(job, command)

    def undo(self, job: Job, command: ImageFetch) -> None:
        library.release(job, command)


@handles(ImagePrefetch)
class PrefetchImage(Handler[ImagePrefetch]):
    """Bring an image here and to many nodes before it is needed."""

    def run(self, job: Job, command: ImagePrefetch) -> Done:
        prefetches.begin(job.services, job.envelope, command)
        return PENDING


@handles(ImageDelete)
class DeleteImage(Handler[ImageDelete]):
    """Drop blobs here, and on the nodes."""

    def run(self, job: Job, command: ImageDelete) -> None:
        library.forget(job.services, command.blobs)
        for child in Child.objects.filter(role="nc"):
            outbox.send(command, child.pk, sender=job.services.agent.me, task=job.task, step=child.pk)


@handles(EdgeApply)
class ApplyEdge(Handler[EdgeApply]):
    """Make DHCP as the leases say, and have the nodes know which hosts their networks span."""

    def run(self, job: Job, command: EdgeApply) -> None:
        if command.is_new:
            conflicts.settle(job.services, command.instance, job.task)
        if command.instance and edge.lend(job.services, command.instance):
            return
        with memory.atomic():
            segments.tell(job.services)
        try:
            edge.apply(job.services)
        except Trouble as e:
            if access.is_theirs(command.instance, e):
                raise
            _log.warning("somebody's public address is not there", what=e.what, why=e.why)


@handles(NetworksSet)
class SetNetworks(Handler[NetworksSet]):
    """Other networks from now on."""

    def run(self, job: Job, command: NetworksSet) -> None:
        if networks.replace(command):
            edge.apply(job.services)


@handles(AccessSet)
class SetAccess(Handler[AccessSet]):
    """Something else may reach an instance from now on."""

    def run(self, job: Job, command: AccessSet) -> None:
        """What could not be is told beside what is."""
        try:
            if access.hear(job.services, command):
                with memory.atomic():
                    segments.tell(job.services)
                edge.rule(job.services)
        except Trouble as e:
            if access.is_theirs(command.instance, e):
                access.tell(job.services, command.instance, e, command.number)
                raise
            _log.warning("somebody's public address is not there", what=e.what, why=e.why)
        access.tell(job.services, command.instance)


@handles(NetworkProbe)
class ProbeNetwork(Handler[NetworkProbe]):
    """How the way from an instance to the outside is here and on its node."""

    def run(self, job: Job, command: NetworkProbe) -> None:
        """What cannot be seen is said to be unknown."""
        probes.answer(job.services, command, job.task)


@handles(LeasesTell)
class TellLeases(Handler[LeasesTell]):
    """What of a network is lent."""

    def run(self, job: Job, command: LeasesTell) -> None:
        """A network that is not here has an answer too."""
        job.services.agent.report(lent.answer(job.services, command), job.task)


@handles(HostAdmit)
class AdmitHost(Handler[HostAdmit]):
    """Let a child in."""

    def run(self, job: Job, command: HostAdmit) -> None:
        children.admit(job.services, command)


@handles(HostRefuse)
class RefuseHost(Handler[HostRefuse]):
    """Turn a child away."""

    def run(self, job: Job, command: HostRefuse) -> None:
        children.refuse(job.services, command.request, command.why)


@handles(HostRemove)
class RemoveHost(Handler[HostRemove]):
    """Forget a child."""

    def run(self, job: Job, command: HostRemove) -> None:
        children.remove(job.services, command.host)


@handles(HostLost)
class LoseHost(Handler[HostLost]):
    """Forget a child and all that was placed there."""

    def run(self, job: Job, command: HostLost) -> None:
        losses.host_lost(job.services, command.host)


@handles(HostDrain)
class DrainHost(Handler[HostDrain]):
    """Place nothing new there."""

    def run(self, job: Job, command: HostDrain) -> None:  # noqa: ARG002
        children.drain(command.host, on=command.on)


@handles(HostRefresh)
class RefreshHost(Handler[HostRefresh]):
    """Our own facts, or a child's."""

    def run(self, job: Job, command: HostRefresh) -> None:
        agent = job.services.agent
        if command.host == agent.me:
            agent.hello()
            agent.beat()
        else:
            agent.awaits(command.host)
            outbox.send(command, command.host, sender=agent.me, task=job.task)


@handles(StreamOpen)
class OpenStream(Handler[StreamOpen]):
    """Expect a dial from the node and pass the order on, or dial the guest's port ourselves; or say above why not."""

    def run(self, job: Job, command: StreamOpen) -> None:
        try:
            self._open(job, command)
        except Trouble as error:
            if job.services.boss:
                stream.refuse(job.services.boss, command.stream, job.services.agent.me, error)
            raise

    @staticmethod
    def _open(job: Job, command: StreamOpen) -> None:
        office = job.services
        place = placements.find(command.instance)
        if place is None:
            raise Refused("state", "The instance has no place in this cluster")
        if command.channel == "tunnel" and office.agent.settings.network.driver != "user":
            nic = tunnels.address_of(placements.spec_of(place))
            if not (office.tunnels and office.boss and office.agent.settings.network.driver == "dnsmasq"):
                raise Refused("unsupported", "This cluster has no way to its guests", "its network is none of its own")
            office.tunnels.open(nic, command.instance, command.port, (office.boss, command.stream, office.agent.me))
            return
        if office.streams is not None:
            office.streams.expect(command.stream, command.timeout_s)
        outbox.send(command, place.node, sender=office.agent.me, task=job.task, step="stream", deadline=clock.now() + command.timeout_s)


@handles(LetterResend)
class ResendLetter(Handler[LetterResend]):
    """A dead letter of our broker: again, or forgotten."""

    def run(self, job: Job, command: LetterResend) -> None:
        if command.drop:
            with memory.atomic():
                story = letters.drop(command.letter)
            job.services.agent.report(story)
        else:
            letters.want_again(command.letter)


@handles(TaskCancel)
class CancelTask(Handler[TaskCancel]):
    """Turn back what is being done for a task."""

    def run(self, job: Job, command: TaskCancel) -> None:
        with memory.atomic():
            flows.cancel(job.services, command.target)
            prefetches.cancel(job.services, command.target)
