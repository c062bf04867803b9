"""What the edge of this cluster shall be: a function of networks, leases, spans and access; and the order to make it so."""

from __future__ import annotations

from collections.abc import Mapping

from cc.drivers.base import EdgePlan
from cc.services import access, leases, networks, segments
from cc.services.office import Office
from luhyaapi import subnets
from luhyaapi.conf import Network, bridge_of, rules_of
from luhyaapi.contracts.specs import Allow, NetworkSpec, Nic
from luhyaapi.contracts.vocabulary import SPANNING, NetworkMode, Protocol, Role
from luhyaapi.edge import routes
from luhyaapi.edge.plan import Alias, Card, Forward, RulesPlan, Segment, both
from luhyadb.models import AccessOrder, ElasticLink, ForwardLease, Placement


def apply(office: Office) -> None:
    """Have the edge as it is wanted; once for all who ask meanwhile. Raises as EdgeDriver.apply."""
    office.applying.do(lambda: office.edge.apply(wanted(office)))


def lend(office: Office, instance: str) -> bool:
    """Serve what was lent to an instance, where that is all that changed with its place; False: only :func:`apply` will do."""
    with office.applying.lock:
        new = leases.lent_to(instance)
        if set(new) - {networks.DEFAULT} or access.is_reached(instance):
            return False
        return office.edge.lend(bridge_of(office.agent.settings.network.bridge, 0), new.get(networks.DEFAULT, ()))


def wanted(office: Office) -> EdgePlan:
    """What it shall be now."""
    network = office.agent.settings.network
    everyone = networks.everyone(network)
    served = leases.served(network, [each for each in everyone if each.mode is not NetworkMode.NODE], segments.own(office))
    return EdgePlan(networks=served, rules=_rules(office, everyone))


def rule(office: Office) -> None:
    """Have the packet rules as they are wanted, of networks that are there; once for all who ask meanwhile. Raises as EdgeDriver.rule."""
    office.ruling.do(lambda: office.edge.rule(_rules(office, networks.everyone(office.agent.settings.network))))


def _rules(office: Office, everyone: list[NetworkSpec]) -> RulesPlan:
    """Its host is the gateway of every network: nothing reaches a guest from outside that was not asked for."""
    network = office.agent.settings.network
    orders = dict(AccessOrder.objects.values_list("pk", "allow"))
    forwards = list(ForwardLease.objects.exclude(instance="").order_by("port"))
    elastics = dict(ElasticLink.objects.values_list("address", "instance"))
    cards = _cards_of({*(pk for pk, allow in orders.items() if allow), *(each.instance for each in forwards), *elastics.values()})
    return RulesPlan(
        name=rules_of(Role.CC, network.bridge), segments=tuple(_segment(network, each) for each in everyone if each.mode in SPANNING),
        forwards=_forwards(office, forwards, cards), cards=_cards(orders, cards),
        aliases=tuple(
            Alias(address=address, to=cards[instance][0].ip) for address, instance in elastics.items()
            if instance in cards and cards[instance][0].mode in SPANNING
        ),
    )


def _segment(network: Network, spec: NetworkSpec) -> Segment:
    return Segment(
        name=f"n{spec.number}", bridge=bridge_of(network.bridge, spec.number), subnets=both(str(subnets.subnet_of(spec.subnet)), spec.subnet6), gateway=True,
        way_out=spec.way_out, talk=not spec.isolated,
    )


def _cards_of(instances: set[str]) -> dict[str, tuple[Nic, ...]]:
    """The cards of placed instances, by instance; those without any are left out."""
    found = Placement.objects.filter(pk__in=instances).values_list("pk", "spec")
    nics = {pk: tuple(Nic.model_validate(each) for each in spec["nics"]) for pk, spec in found}
    return {pk: each for pk, each in nics.items() if each}


def _forwards(office: Office, rows: list[ForwardLease], cards: Mapping[str, tuple[Nic, ...]]) -> tuple[Forward, ...]:
    if not rows:
        return ()
    address, nodes = access.address_of(office), access.node_addresses({each.instance for each in rows})
    own = {"", address, routes.address_in(office.door)}
    made = []
    for each in rows:
        card = cards[each.instance][0] if each.instance in cards else None
        # behind its node it is reached by the same port of the node, which has that port itself when it is this very host
        to, port = (nodes.get(each.instance, ""), each.port) if card and card.mode is NetworkMode.NODE else (card.ip if card else "", each.guest_port)
        if card and card.mode is not NetworkMode.CAMPUS and to not in own:
            made.append(Forward(protocol=Protocol(each.protocol), address=address, port=each.port, to=to, to_port=port, sources=tuple(each.sources)))
    return tuple(made)


def _cards(orders: Mapping[str, list[object]], cards: Mapping[str, tuple[Nic, ...]]) -> tuple[Card, ...]:
    """Those that something is allowed to reach; each is guarded on its own host."""
    allowed = {pk: tuple(Allow.model_validate(each) for each in allow) for pk, allow in orders.items() if allow and pk in cards}
    return tuple(
        Card(tap="", mac=nic.mac, addresses=both(nic.ip, nic.ip6), segment=f"n{nic.segment}", allow=allow)
        for pk, allow in sorted(allowed.items()) for nic in cards[pk] if nic.mode in SPANNING
    )
