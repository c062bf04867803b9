"""What the edge of this cluster shall be: a function of networks, leases and spans; and the order to make it so."""

from __future__ import annotations

from cc.drivers.base import EdgePlan
from cc.services import leases, networks, segments
from cc.services.office import Office
from luhyaapi import subnets
from luhyaapi.conf import Network, bridge_of, rules_of
from luhyaapi.contracts.specs import NetworkSpec
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.edge.plan import RulesPlan, Segment


def apply(office: Office) -> None:
    """Have the edge as it is wanted. Raises as EdgeDriver.apply."""
    office.edge.apply(plan(office))


def plan(office: Office) -> EdgePlan:
    """Networks with their DHCP, and who reaches whom."""
    network = office.agent.settings.network
    everyone = networks.everyone(network)
    return EdgePlan(networks=leases.served(network, everyone, segments.own(office)), rules=rules(network, everyone))


def rules(network: Network, everyone: list[NetworkSpec]) -> RulesPlan:
    """Its host is the gateway of every network: nothing reaches a guest from outside that was not asked for."""
    return RulesPlan(name=rules_of(Role.CC, network.bridge), segments=tuple(
        Segment(
            name=f"n{each.number}", bridge=bridge_of(network.bridge, each.number), subnets=(str(subnets.subnet_of(each.subnet)),), gateway=True,
            way_out=each.way_out, talk=not each.isolated,
        ) for each in everyone
    ))
