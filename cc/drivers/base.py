"""EdgeDriver: the cluster's bridges and DHCP as one wanted plan, and the laws every driver keeps."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from typing import Protocol

from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import LinkFacts, Nic
from luhyaapi.edge import plan as packets
from luhyaapi.edge.neighbours import Seen
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork, check_network
from luhyaapi.edge.plan import Forward, RulesPlan
from luhyaapi.errors import Refused


class EdgePlan(Model):
    """Every guest network of a host, and the packet rules of it; None: there are none. Uplinks are the driver's to know."""

    networks: tuple[EdgeNetwork, ...] = ()
    rules: RulesPlan | None = None


class EdgeDriver(Protocol):
    """Nine verbs. The plan is always whole; ``lend`` is a shortcut to the next one, for a guest that waits.

    ``apply`` is idempotent and all or nothing: a plan that :func:`check` refuses changes nothing, and a plan cut
    in the middle is completed by the next call. Raises Refused(invalid) for such a plan, Failed(network) when the
    host says no, Failed(missing) when a program is not installed.
    Networks go before rules. A network that is no longer in the plan is gone from the host. One that cannot be made keeps no other from being made:
    the first trouble is raised after the last network. ``found`` answers what is served right now, or None when nothing is.
    ``lend`` serves these cards too, in the network of that bridge, however many there are; False: nothing changed, and only ``apply`` will do.
    ``rule`` is the part of it that concerns packets, of networks that are there: what a forward needs to appear.
    ``look`` only looks: how each link of the way of that card is on this host, if all shall be as in the plan and those ports lead to it.
    What cannot be seen is unknown. Raises Failed(network).
    ``answering`` asks the wire which of the addresses of these cards, none of which runs, somebody has already: his MAC by address. It takes a quarter
    of a second at most, however many there are; of networks that are not on a wire of this host it says nothing. ``seen`` answers who was
    heard in a network, without asking. Both raise Failed(network).
    ``close`` lets go of the networks without touching them; ``down`` leaves nothing of them on the host.
    """

    def apply(self, plan: EdgePlan) -> None: ...
    def lend(self, bridge: str, leases: Sequence[EdgeLease]) -> bool: ...
    def rule(self, rules: RulesPlan) -> None: ...
    def found(self) -> EdgePlan | None: ...
    def look(self, nic: Nic, plan: EdgePlan, forwards: Collection[Forward]) -> tuple[LinkFacts, ...]: ...
    def answering(self, nics: Collection[Nic]) -> dict[str, str]: ...
    def seen(self, network: EdgeNetwork) -> tuple[Seen, ...]: ...
    def close(self) -> None: ...
    def down(self) -> None: ...


def check(plan: EdgePlan) -> None:
    """Raises Refused(invalid) naming the first broken rule within a network, or between two."""
    subnets: list[ipaddress.IPv4Network] = []
    for network in plan.networks:
        subnet = check_network(network)
        if other := next((each for each in subnets if each.overlaps(subnet)), None):
            raise _invalid(f"{subnet} and {other} overlap")
        subnets.append(subnet)
    for what in ("bridge", "mac"):
        values = [n.bridge for n in plan.networks] if what == "bridge" else [lease.mac for n in plan.networks for lease in n.leases]
        if len(set(values)) < len(values):
            raise _invalid(f"a {what} is in two networks")
    if plan.rules:
        packets.check(plan.rules)


def _invalid(why: str) -> Refused:
    return Refused("invalid", "The network plan is not valid", why)
