"""Which node an instance is on and what the cluster wants of it: the only writer of Placement."""

from __future__ import annotations

from cc.services import children, leases
from cc.services.office import Office
from cc.services.placement import Wanted, choose
from luhyaapi.contracts.commands import InstanceRun
from luhyaapi.contracts.reports import InstanceFacts, PlacementFacts
from luhyaapi.contracts.specs import Display, MachineSpec
from luhyaapi.contracts.vocabulary import InstanceState
from luhyadb import memory
from luhyadb.models import FlowRun, Placement


def place(office: Office, order: InstanceRun, task: str, gen: int) -> tuple[Placement, bool]:
    """The place of an instance, and whether it is new. In one transaction with its leases. Raises Unavailable(no_capacity)."""
    agent = office.agent
    row = Placement.objects.filter(pk=order.instance).first()
    is_new = row is None
    if row is None:
        wanted = Wanted(
            cpus=order.cpus, memory_mib=order.memory_mib, usage=order.usage,
            images=frozenset(b.sha256 for b in order.image.blobs),
        )
        choice = choose(wanted, children.nodes(office))
        nic, port = leases.take(agent.me, agent.settings.network, order.instance, order.name)
        spec = MachineSpec(
            instance=order.instance, name=order.name, cpus=order.cpus, memory_mib=order.memory_mib, image=order.image,
            nics=(nic,), display_port=port, ssh_keys=order.ssh_keys,
        )
        row = Placement.objects.create(
            instance=order.instance, node=choice.node.host, gen=gen, spec=spec.model_dump(mode="json"), cpus=order.cpus,
            memory_mib=order.memory_mib, why=dict(choice.why),
        )
    else:
        Placement.objects.filter(pk=row.pk).update(wanted=InstanceState.RUNNING, gen=gen)
        row.refresh_from_db()
    spec = spec_of(row)
    told = PlacementFacts(
        instance=row.pk, task=task, node=row.node, fence=row.fence, nics=spec.nics, why=row.why,
        display=Display(port=spec.display_port),
    )
    memory.on_commit(lambda: agent.report(told, task))
    return row, is_new


def spec_of(row: Placement) -> MachineSpec:
    """The machine as it was placed."""
    return MachineSpec.model_validate(row.spec)


def find(instance: str) -> Placement | None:
    """Where an instance is, or None."""
    return Placement.objects.filter(pk=instance).first()


def want(instance: str, state: InstanceState, gen: int) -> None:
    """What shall become of it."""
    Placement.objects.filter(pk=instance).update(wanted=state, gen=gen)


def found(report: InstanceFacts) -> None:
    """What its node says. A guest that ended by itself is not wanted any more; within a flow the flow knows better."""
    changes = {"found": report.state}
    if report.state == InstanceState.STOPPED and not FlowRun.objects.filter(instance=report.instance, ended_at=0).exists():
        changes["wanted"] = InstanceState.STOPPED
    Placement.objects.filter(pk=report.instance, gen__lte=report.gen).update(**changes)


def release(instance: str) -> None:
    """The place and everything lent with it are free."""
    leases.give_back(instance)
    Placement.objects.filter(pk=instance).delete()


def known() -> set[str]:
    """Every placed instance."""
    return set(Placement.objects.values_list("pk", flat=True))

