"""What may be lent of: a network of a cluster, or that of its settings, which has no row."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from clc.services import cards
from luhyaapi import ids, subnets
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, Host, Network


@dataclass(frozen=True)
class Pool:
    """The addresses of a network; ``network`` None: of the one of the cluster's settings."""

    cluster: Host
    network: Network | None

    @property
    def id(self) -> str:
        """What its cluster calls it."""
        return self.network.pk if self.network else cards.DEFAULT

    @property
    def ident(self) -> str:
        """What it is called in addresses: the network's id, or its cluster's."""
        return str(self.network.pk if self.network else self.cluster.pk)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.network.name if self.network else cards.DEFAULT

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """All of its addresses."""
        return subnets.subnet_of(self.network.subnet if self.network else self.cluster.subnet)

    @property
    def gateway(self) -> str:
        """The router of its guests."""
        return (self.network.gateway if self.network else "") or subnets.gateway_of(self.subnet)

    @property
    def ranges(self) -> list[list[str]]:
        """First and last of what is lent; none: all."""
        return list(self.network.ranges) if self.network else []

    def has(self, address: ipaddress.IPv4Address) -> bool:
        """Whether a card in it may have that address."""
        ends = (self.subnet.network_address, self.subnet.broadcast_address)
        return address in self.subnet and address not in ends and str(address) != self.gateway


def resolve(account: Account, text: str) -> Pool:
    """The network with that id or name; a cluster's own by the cluster's id, or ``default`` where there is one cluster.

    Raises Refused(forbidden | not_found | invalid | conflict | state).
    """
    scope.require_admin(account)
    if text != cards.DEFAULT and not ids.is_id(text, "cc"):
        row = cards.resolve(account, text)
        return Pool(row.cluster, row)
    own = cluster(account, "" if text == cards.DEFAULT else text)
    if not own.subnet:
        raise Refused("state", "The cluster has not said what its network is", f"{own.name} was not heard yet")
    return Pool(own, None)


def cluster(account: Account, ident: str) -> Host:
    """The visible cluster of that id or name; it may be left out where there is one. Raises Refused(not_found | invalid), with the field."""
    rows = scope.visible_to(account, Host).filter(role=Role.CC).exclude(state__in=[HostState.RETIRED, HostState.NEW])
    by = {"pk": ident} if ids.is_id(ident, "cc") else {"name": ident}
    found = list(rows.filter(**by)[:2]) if ident else list(rows[:2])
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused("invalid", "The cluster must be named", "there are several", field="cluster")
    raise Refused("not_found", f"There is no cluster {ident[:63]!r}" if ident else "There is no cluster", field="cluster")
