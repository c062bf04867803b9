"""What a cluster sees of the way from an instance to the outside: looked at when it is asked for, never repaired here."""

from __future__ import annotations

from cc.drivers.base import EdgePlan
from cc.services import edge, placements
from cc.services.office import Office
from luhyaapi import clock
from luhyaapi.contracts.commands import CardsProbe, NetworkProbe
from luhyaapi.contracts.reports import ProbeFacts
from luhyaapi.contracts.specs import LinkFacts, MachineSpec, Nic
from luhyaapi.edge import links
from luhyaapi.edge.plan import Forward
from luhyaapi.errors import Refused, Trouble
from luhyadb import memory, outbox
from luhyadb.models import AddressLease, Child, ForwardLease, Placement


def answer(office: Office, order: NetworkProbe, task: str) -> None:
    """Have its node look, look ourselves, and say what is found."""
    place = placements.find(order.instance)
    if place is None:
        found: tuple[LinkFacts, ...] = (links.broken("place", "The instance has no place in this cluster", order.instance, "Start the instance."),)
    else:
        found = (*_asked(office, order, place, task), *look(office, place))
    office.agent.report(ProbeFacts(instance=order.instance, probe=order.probe, host=office.agent.me, links=found), task)


def look(office: Office, place: Placement) -> tuple[LinkFacts, ...]:
    """Whether its cards and what is lent to it agree, and each link of each card that is on this host."""
    spec = placements.spec_of(place)
    found = [_place(spec)]
    plan = edge.wanted(office)
    ways = _ways(plan, spec)
    for nic in spec.nics:
        found += _card(office, nic, plan, ways if nic == spec.nics[0] else ())
    return tuple(found)


def _asked(office: Office, order: NetworkProbe, place: Placement, task: str) -> tuple[LinkFacts, ...]:
    """Nothing, or why the node cannot be asked."""
    node = Child.objects.filter(pk=place.node).first()
    try:
        with memory.atomic():
            outbox.send(
                CardsProbe(instance=order.instance, probe=order.probe), place.node, sender=office.agent.me, task=task, step="cards",
                deadline=clock.now() + CardsProbe.timeout_s, speaks=node.speaks if node else None,
            )
    except Refused as e:
        return (links.unseen("node", e),)
    return ()


def _place(spec: MachineSpec) -> LinkFacts:
    lent = set(AddressLease.objects.filter(instance=spec.instance).values_list("ip", "mac"))
    wrong = [nic.ip for nic in spec.nics if (nic.ip, nic.mac) not in lent]
    if wrong:
        return links.broken("place", "The card of the instance is lent to nobody, or to another", f"the cluster has no lease of {', '.join(wrong)} for it",
                            "Stop the instance and start it again: it gets new addresses.")
    return links.ok("place", "The cluster has lent it its addresses", ", ".join(nic.ip for nic in spec.nics))


def _ways(plan: EdgePlan, spec: MachineSpec) -> tuple[Forward, ...]:
    """The ports of the cluster that lead to it."""
    lent = set(ForwardLease.objects.filter(instance=spec.instance).values_list("protocol", "port"))
    return tuple(each for each in (plan.rules.forwards if plan.rules else ()) if (each.protocol, each.port) in lent)


def _card(office: Office, nic: Nic, plan: EdgePlan, ways: tuple[Forward, ...]) -> tuple[LinkFacts, ...]:
    try:
        return office.edge.look(nic, plan, ways)
    except Trouble as e:
        return (links.unseen("bridge", e).model_copy(update={"card": nic.ip}),)
