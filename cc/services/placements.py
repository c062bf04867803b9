"""Which node an instance is on and what the cluster wants of it: the only writer of Placement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cc.services import access, children, leases, networks, pool
from cc.services.office import Office
from cc.services.placement import NodeView, Wanted, refusal
from luhyaapi.contracts.commands import InstanceRun
from luhyaapi.contracts.reports import InstanceFacts, MachineFacts, PlacementFacts, PlacesFacts
from luhyaapi.contracts.specs import Display, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import HostState, InstanceState
from luhyaapi.errors import Unavailable
from luhyadb import memory
from luhyadb.models import Child, FlowRun, Placement

_TOLD_AT_ONCE = 1000


def place(office: Office, order: InstanceRun, task: str, gen: int) -> tuple[Placement, bool]:
    """The place of an instance, and whether it is new. In one transaction with its leases.

    Raises Unavailable(no_capacity | host_silent), Refused(not_found) for a network that is not there.
    """
    agent = office.agent
    # Two who are placed at once would both count on the memory that is free now.
    number = pool.alone()
    row = Placement.objects.filter(pk=order.instance).first()
    is_new = row is None
    wanted = Wanted(
        cpus=order.cpus, memory_mib=order.memory_mib, usage=order.usage, images=frozenset(b.sha256 for b in order.image.blobs),
        disk_mib=order.data_disk_mib if is_new else 0,
    )
    if row is None:
        roll = office.roll.at(number, agent.settings.network)
        choice = roll.choose(wanted, office)
        had_leases = roll.known is not None and order.instance in roll.known.holders
        cards = networks.named(agent.settings.network, order.networks)
        nics, port = leases.take(agent.me, agent.settings.network, order.instance, order.name, roll.known, cards, order.owner)
        spec = MachineSpec(
            instance=order.instance, name=order.name, cpus=order.cpus, memory_mib=order.memory_mib, image=order.image,
            nics=nics, display_port=port, ssh_keys=order.ssh_keys, user_data=order.user_data,
            transient=order.transient, data_disk_mib=order.data_disk_mib,
            first_boot_offline=order.first_boot_offline,
        )
        row = Placement.objects.create(
            instance=order.instance, node=choice.node.host, gen=gen, fence=gen, spec=spec.model_dump(mode="json"), cpus=order.cpus,
            memory_mib=order.memory_mib, disk_mib=order.data_disk_mib, why=dict(choice.why),
        )
        pool.turn()
        memory.on_commit(lambda: office.roll.placed(number, choice.node.host, order, nics, had_leases=had_leases))
    else:
        if not (row.wanted == row.found == InstanceState.RUNNING):
            _check_still_fits(row.node, wanted, children.nodes(office, without=order.instance))
        pool.turn()
        again = {"spec": row.spec | {"disk": gen}} if order.transient and row.found not in _RUNS else {}
        Placement.objects.filter(pk=row.pk).update(wanted=InstanceState.RUNNING, gen=gen, **again)
        row.refresh_from_db()
    told = facts(row.pk, task, gen)
    memory.on_commit(lambda: agent.report(told, task))
    return row, is_new


def replug(office: Office, instance: str, nics: Sequence[Nic], task: str) -> None:
    """It has these cards from now on; the CLC hears that too. In a transaction of the caller's."""
    row = Placement.objects.get(pk=instance)
    Placement.objects.filter(pk=instance).update(spec=row.spec | {"nics": [nic.model_dump(mode="json") for nic in nics]})
    told = facts(instance, task, row.fence)
    memory.on_commit(lambda: office.agent.report(told, task))


def recall(office: Office, report: MachineFacts, fence: int) -> bool:
    """Have the place of an instance again as its node tells it, with what was lent to it; whether it is there now.

    ``fence``: what the CLC says of that place; only so much does a node's word count against another place. Raises what :func:`leases.take_again` raises.
    """
    machine = report.machine
    if machine is None:
        return False
    with memory.atomic():
        pool.alone()
        row = find(report.instance)
        if row is not None and row.node == report.node and row.fence == report.fence:
            return True
        is_newer = row is not None and row.fence > min(report.fence, fence)
        if is_newer or not Child.objects.filter(pk=report.node).exists():
            return False
        if row is not None:
            leases.give_back(row.pk)
            row.delete()
        nics, port = leases.take_again(office.agent.me, office.agent.settings.network, machine)
        spec = machine.model_copy(update={"nics": nics, "display_port": port})
        Placement.objects.create(
            instance=report.instance, node=report.node, gen=report.gen, fence=report.fence, wanted=report.wanted, found_gen=report.gen,
            found=_found_when(report), spec=spec.model_dump(mode="json"), cpus=machine.cpus,
            memory_mib=machine.memory_mib, disk_mib=machine.data_disk_mib,
        )
        pool.turn()
        told = facts(report.instance, "", report.fence)
        memory.on_commit(lambda: office.agent.report(told))
    return True


def tell_all(office: Office) -> None:
    """Which instances have a place here: the CLC looks whether that is what it knows."""
    placed, after = sorted(known()), ""
    while True:
        page, placed = placed[:_TOLD_AT_ONCE], placed[_TOLD_AT_ONCE:]
        until = page[-1] if placed else ""
        office.agent.report(PlacesFacts(host=office.agent.me, after=after, until=until, instances=tuple(page)))
        if not placed:
            return
        after = until


def _check_still_fits(host: str, wanted: Wanted, nodes: list[NodeView]) -> None:
    """A stopped instance gave its memory back, but its disk is on its node. Raises Unavailable(host_silent | no_capacity)."""
    node = next((n for n in nodes if n.host == host), None)
    why = refusal(wanted, node) if node else "is not there any more"
    if why:
        silent = node is None or node.state is HostState.SILENT
        raise Unavailable("host_silent" if silent else "no_capacity", "Its node cannot take it now", f"{host} {why}")


def spec_of(row: Placement) -> MachineSpec:
    """The machine as it was placed."""
    return MachineSpec.model_validate(row.spec)


def renew(row: Placement, image: ImageRef, disk: int, wanted: InstanceState) -> MachineSpec:
    """The machine with a new system disk of that number, fresh from that version; what shall become of it then."""
    spec = spec_of(row).model_copy(update={"image": image, "disk": disk})
    Placement.objects.filter(pk=row.pk).update(spec=spec.model_dump(mode="json"))
    want(row.pk, wanted, disk)
    return spec


def take_back(instance: str, image: dict[str, Any], disk: int) -> None:
    """Its new system disk came to nothing; where the node has it all the same, the node keeps it."""
    row = find(instance)
    if row is not None:
        Placement.objects.filter(pk=instance).update(spec=row.spec | {"image": image, "disk": disk})


def find(instance: str) -> Placement | None:
    """Where an instance is, or None."""
    return Placement.objects.filter(pk=instance).first()


def facts(instance: str, task: str, free: int) -> PlacementFacts:
    """Where an instance is, as it is told; without a node when it has no place of the fence ``free`` or an older one."""
    row = find(instance)
    if row is None:
        return PlacementFacts(instance=instance, task=task, node="", fence=free)
    spec = spec_of(row)
    return PlacementFacts(
        instance=instance, task=task, node=row.node, fence=row.fence, nics=spec.nics, why=row.why,
        display=Display(port=spec.display_port),
    )


def want(instance: str, state: InstanceState, gen: int) -> None:
    """What shall become of it."""
    _turn_if(Placement.objects.filter(pk=instance).exclude(wanted=state).exists())
    Placement.objects.filter(pk=instance).update(wanted=state, gen=gen)


def found(report: InstanceFacts) -> None:
    """What its node says, which is the truth; only while a flow is under way the flow knows better what is wanted."""
    changes: dict[str, Any] = {"found": report.state, "found_gen": report.gen}
    if not FlowRun.objects.filter(instance=report.instance, ended_at=0).exists():
        changes["wanted"] = _wanted_when(report.state)
        _turn_if(Placement.objects.filter(pk=report.instance).exclude(wanted=changes["wanted"]).exists())
    Placement.objects.filter(pk=report.instance).update(**changes)


def told(report: MachineFacts) -> None:
    """What its node has of it, which was asked for, holds. In a transaction of the caller's."""
    _turn_if(Placement.objects.filter(pk=report.instance).exclude(wanted=report.wanted).exists())
    Placement.objects.filter(pk=report.instance).update(wanted=report.wanted, gen=report.gen, found=_found_when(report), found_gen=report.gen)


def want_as_found(instance: str) -> None:
    """An order came to nothing: what is there is wanted."""
    row = find(instance)
    if row is not None:
        _turn_if(row.wanted != _wanted_when(row.found))
        Placement.objects.filter(pk=instance).update(wanted=_wanted_when(row.found))


def settle(instance: str) -> None:
    """No flow is under way any more: what its node said after that order was done, and is not said again, holds."""
    row = find(instance)
    if row is not None and row.found_gen >= max(row.gen, 1):
        want_as_found(instance)


def _turn_if(changes: bool) -> None:
    """What is stopped gave its memory back."""
    if changes:
        pool.turn()


_RUNS = (InstanceState.RUNNING, InstanceState.STARTING)


def _found_when(report: MachineFacts) -> InstanceState:
    return InstanceState.RUNNING if report.runs else InstanceState.STOPPED


def _wanted_when(found: str) -> InstanceState:
    return InstanceState.RUNNING if found in _RUNS else InstanceState.STOPPED


def release(office: Office, instance: str, task: str, gen: int = 0) -> None:
    """The place and everything lent with it are free; the CLC hears that too. ``gen``: of the order that asks for it; 0: none does."""
    number, row = pool.alone(), find(instance)
    leases.give_back(instance)
    access.forget(instance)
    Placement.objects.filter(pk=instance).delete()
    if row is not None:
        memory.on_commit(lambda: office.roll.released(number, row))
    memory.on_commit(lambda: office.arrivals.let_go(instance))
    told = facts(instance, task, max(gen, row.fence if row else 0))
    memory.on_commit(lambda: office.agent.report(told, task))


def sweep() -> list[str]:
    """Give back what is lent to instances without a place, a lost release; their ids."""
    with memory.atomic():
        pool.alone()
        found = leases.orphans(known())
        for instance in found:
            leases.give_back(instance)
    return found


def known() -> set[str]:
    """Every placed instance."""
    return set(Placement.objects.values_list("pk", flat=True))


def elsewhere(node: str, instances: Sequence[str]) -> set[str]:
    """Those of them that are placed on another node."""
    return set(Placement.objects.filter(pk__in=instances).exclude(node=node).values_list("pk", flat=True))
