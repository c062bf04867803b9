"""The steps of every flow, in order: which order each begins with and how it is taken back."""

from __future__ import annotations

from cc.services import flows, library, neighbours, placements, recall
from cc.services.flows import Say, Step
from cc.services.office import Office
from luhyaapi.contracts.commands import (
    DiskPush,
    DomainConnect,
    DomainDelete,
    DomainStart,
    DomainStop,
    EdgeApply,
    ImageFetch,
    InstanceConnect,
    InstanceDelete,
    InstanceReboot,
    InstanceRestore,
    InstanceRun,
    InstanceStop,
    InstanceSubmit,
)
from luhyaapi.contracts.reports import MachineFacts
from luhyaapi.contracts.vocabulary import DiskBus, InstanceState
from luhyaapi.errors import Refused
from luhyaapi.wire.signing import make_ticket
from luhyadb.models import FlowRun, Placement


def _placed(run: FlowRun) -> Placement:
    place = placements.find(run.instance)
    if place is None:
        raise Refused("state", "The instance has no place in this cluster", "it was never run here, or was deleted")
    return place


def _run_order(run: FlowRun) -> InstanceRun:
    order = flows.order_of(run)
    assert isinstance(order, InstanceRun)  # noqa: S101 - these steps stand in this flow only
    return order


def _image_order(run: FlowRun) -> InstanceRun | InstanceRestore:
    order = flows.order_of(run)
    assert isinstance(order, InstanceRun | InstanceRestore)  # noqa: S101 - these steps stand in these flows only
    return order


def _place(office: Office, run: FlowRun) -> None:
    _, is_new = placements.place(office, _run_order(run), run.task, flows.gen_of(run))
    run.facts = {**run.facts, "is_new": is_new or run.facts.get("is_new", False)}


def _give_place_back(office: Office, run: FlowRun) -> Say | None:
    if not run.facts.get("is_new") or run.facts.get("left"):
        placements.want_as_found(run.instance)
        return None
    placements.release(office, run.instance, run.task, flows.gen_of(run))
    return Say(EdgeApply(), office.agent.me)


def _fetch_here(office: Office, run: FlowRun) -> Say | None:
    order = _image_order(run)
    if _may_trust(run) and (_is_there(office, run) or library.has(office, order.image)):
        return None
    lazy = _is_lazy(order) or not office.arrivals.is_inline
    if lazy:
        office.arrivals.want(order.image, run.instance)
    fetch = ImageFetch(image=order.image.image, ref=order.image, url=f"{order.image_url}/walrus/api/1.0", ticket=order.image_ticket, lazy=lazy)
    return Say(fetch, office.agent.me)


def _is_lazy(order: InstanceRun | InstanceRestore) -> bool:
    """Whether its guest may start before its disk is there: other disks than virtio's give up a read that takes long."""
    return order.boot and order.image.hardware.disk_bus is DiskBus.VIRTIO


def _may_trust(run: FlowRun) -> bool:
    """Whether what is said to be there need not be fetched: not once it was missed, nor once an order to fetch it was given."""
    return not (run.waiting or run.facts.get("brought"))


def _is_there(office: Office, run: FlowRun) -> bool:
    """Whether the node said with its last heartbeat that it has the image. One that has it no more says so when it boots."""
    facts = office.facts.get(_placed(run).node)
    return facts is not None and {b.sha256 for b in _image_order(run).image.blobs} <= set(facts.blobs)


def _fetch_there(office: Office, run: FlowRun) -> Say | None:
    place, order = _placed(run), _image_order(run)
    if _may_trust(run) and _is_there(office, run):
        return None
    return Say(library.order_for(office, order.image, place.node, lazy=_is_lazy(order)), place.node)


def _edge(office: Office, run: FlowRun) -> Say:
    return Say(EdgeApply(instance=run.instance, is_new=bool(run.facts.get("is_new"))), office.agent.me)


def _boot(_office: Office, run: FlowRun) -> Say:
    place, order = _placed(run), flows.order_of(run)
    boot = not isinstance(order, InstanceRun) or order.boot
    placements.want(run.instance, InstanceState.RUNNING if boot else InstanceState.STOPPED, flows.gen_of(run))
    return Say(DomainStart(instance=run.instance, spec=placements.spec_of(place), boot=boot), place.node, flows.gen_of(run), place.fence)


def _take_boot_back(_office: Office, run: FlowRun) -> Say | None:
    place = placements.find(run.instance)
    if place is None:
        return None
    if run.facts.get("is_new"):
        return Say(DomainDelete(instance=run.instance), place.node, flows.gen_of(run), place.fence)
    return Say(DomainStop(instance=run.instance, grace_s=0), place.node, flows.gen_of(run), place.fence)


def _connect(_office: Office, run: FlowRun) -> Say:
    place = _placed(run)
    return Say(DomainConnect(instance=run.instance), place.node, flows.gen_of(run), place.fence)


def _halt(_office: Office, run: FlowRun) -> Say | None:
    place = placements.find(run.instance)
    if place is None:
        return None
    order = flows.order_of(run)
    grace_s = order.grace_s if isinstance(order, InstanceStop | InstanceReboot | InstanceRestore | InstanceSubmit) else 30
    if isinstance(order, InstanceStop | InstanceSubmit):
        placements.want(run.instance, InstanceState.STOPPED, flows.gen_of(run))
    return Say(DomainStop(instance=run.instance, grace_s=grace_s), place.node, flows.gen_of(run), place.fence)


def _restore(_office: Office, run: FlowRun) -> Say:
    place, order = _placed(run), flows.order_of(run)
    assert isinstance(order, InstanceRestore)  # noqa: S101 - this step stands in that flow only
    run.facts = {"before": {"image": place.spec["image"], "disk": place.spec.get("disk", 0)}, **run.facts}
    spec = placements.renew(place, order.image, flows.gen_of(run), InstanceState.RUNNING if order.boot else InstanceState.STOPPED)
    return Say(DomainStart(instance=run.instance, spec=spec, boot=order.boot), place.node, flows.gen_of(run), place.fence)


def _take_restore_back(_office: Office, run: FlowRun) -> Say | None:
    """What the node has by then stays; it is stopped, as it was after the first step."""
    if "before" in run.facts:
        placements.take_back(run.instance, **run.facts["before"])
    place = placements.find(run.instance)
    return Say(DomainStop(instance=run.instance, grace_s=0), place.node, flows.gen_of(run), place.fence) if place else None


def _unchanged(_office: Office, run: FlowRun) -> None:
    placements.want_as_found(run.instance)


def _push(office: Office, run: FlowRun) -> Say:
    place, order = _placed(run), flows.order_of(run)
    assert isinstance(order, InstanceSubmit)  # noqa: S101 - this step stands in that flow only
    ticket = make_ticket(office.agent.key, {"bring": order.draft, "to": place.node}, neighbours.TICKET_LIFE_S)
    push = DiskPush(instance=run.instance, draft=order.draft, url=f"{office.door}/cc/api/1.0", ticket=ticket)
    return Say(push, place.node, flows.gen_of(run), place.fence)


def _wipe(_office: Office, run: FlowRun) -> Say | None:
    place = placements.find(run.instance)
    if place is None:
        node, fence = flows.node_of(run), flows.fence_of(run)
        # a node that has no order of it may have its files
        return Say(DomainDelete(instance=run.instance), node, flows.gen_of(run), fence) if node and not recall.is_known(run.instance, node, fence) else None
    placements.want(run.instance, InstanceState.DELETED, flows.gen_of(run))
    return Say(DomainDelete(instance=run.instance), place.node, flows.gen_of(run), place.fence)


def _release(office: Office, run: FlowRun) -> Say:
    placements.release(office, run.instance, run.task, flows.gen_of(run))
    return Say(EdgeApply(), office.agent.me)


def _came_to_its_end(office: Office, run: FlowRun) -> MachineFacts | None:
    """What its node has if this order or a newer one was begun there; what became of it since is the node's to say. Raises what :func:`recall.found` raises."""
    place, order, gen = placements.find(run.instance), _image_order(run), flows.gen_of(run)
    if place is None:
        return None
    said = recall.found(office, run.instance, place.node, place.fence)
    if said.machine is None or said.fence < place.fence or said.gen < gen:
        return None
    # the first order of a restore to its node stops the guest, the second gives it the disk of that number
    is_begun = isinstance(order, InstanceRun) or said.machine.disk == gen
    return said if said.gen > gen or is_begun else None


_BOOT = Step("boot", _boot, _take_boot_back, lacking="fetch-cluster")

flows.FLOWS.update({
    InstanceRun.kind: (
        Step("place", _place, _give_place_back),
        Step("fetch-cluster", _fetch_here),
        Step("fetch-node", _fetch_there, lacking="fetch-cluster"),
        Step("address", _edge),
        _BOOT,
    ),
    InstanceStop.kind: (Step("halt", _halt, _unchanged),),
    InstanceConnect.kind: (Step("connect", _connect),),
    InstanceReboot.kind: (Step("halt", _halt, _unchanged), Step("boot", _boot)),
    InstanceRestore.kind: (
        Step("fetch-cluster", _fetch_here),
        Step("fetch-node", _fetch_there, lacking="fetch-cluster"),
        Step("halt", _halt, _unchanged),
        Step("restore", _restore, _take_restore_back, lacking="fetch-cluster"),
    ),
    InstanceSubmit.kind: (Step("halt", _halt), Step("push", _push)),
    InstanceDelete.kind: (Step("wipe", _wipe, _unchanged, commits=True), Step("release", _release)),
})

flows.PROOFS.update({InstanceRun.kind: _came_to_its_end, InstanceRestore.kind: _came_to_its_end})
