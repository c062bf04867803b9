"""A guest network that a host serves: what it is, and the rules between its fields."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field

from luhyaapi import subnets
from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import Ipv4, Ipv6Net, Mac, SegmentSpan
from luhyaapi.errors import Refused
from luhyaapi.ids import InsId


class EdgeLease(Model):
    """One card of the network, a guest's or (without an instance) another machine's. ``hostname`` is what it is told, as the user wrote it."""

    instance: InsId | Literal[""] = ""
    mac: Mac
    ip: Ipv4
    hostname: str = ""


class EdgeNetwork(Model):
    """Everything one guest network shall be. ``subnet`` as CIDR, ``gateway`` is the bridge's own address in it.

    ``subnet6``: the /64 of its IPv6 side, of which each card has the address that is told from its MAC; empty: it has none.
    ``mtu`` is what its guests are told, in bytes; 0: nothing. With ``span`` it is on other hosts too. Its guests find each other by
    name; with a ``way_out`` they are also told the names of the world, as this host knows them. A ``shared`` one is not ours: the card of
    this host that has an address of it serves the leases and nothing else, ``gateway`` is somebody else's, and there is no bridge.
    """

    bridge: str = Field(pattern="^[a-z][a-z0-9._-]{0,14}$")
    subnet: str
    gateway: Ipv4
    subnet6: Ipv6Net | Literal[""] = ""
    leases: tuple[EdgeLease, ...] = ()
    mtu: int = Field(default=0, ge=0, le=9000)
    span: SegmentSpan | None = None
    way_out: bool = True
    shared: bool = False


def check_network(plan: EdgeNetwork) -> ipaddress.IPv4Network:
    """The network's subnet, after every rule between its fields held. Raises Refused(invalid) naming the first broken one."""
    try:
        subnet = ipaddress.IPv4Network(plan.subnet)
        gateway = ipaddress.IPv4Address(plan.gateway)
        addresses = [ipaddress.IPv4Address(lease.ip) for lease in plan.leases]
    except ValueError as e:
        raise Refused("invalid", "The network plan is not valid", str(e)) from e
    if plan.subnet6:
        subnets.subnet6_of(plan.subnet6)
    ends = (subnet.network_address, subnet.broadcast_address)
    if gateway not in subnet or gateway in ends:
        raise _invalid(f"the gateway {gateway} is no host address of {subnet}")
    seen: set[object] = set()
    for lease, address in zip(plan.leases, addresses, strict=True):
        if address not in subnet or address in ends:
            raise _invalid(f"{address} of {lease.instance or lease.hostname} is no host address of {subnet}")
        if address == gateway:
            raise _invalid(f"{address} of {lease.instance or lease.hostname} is the gateway's")
        if int(lease.mac[:2], 16) & 1:
            raise _invalid(f"{lease.mac} of {lease.instance or lease.hostname} is a group address")
        for value in (address, lease.mac):
            if value in seen:
                raise _invalid(f"{value} of {lease.instance or lease.hostname} is leased twice")
            seen.add(value)
    return subnet


def _invalid(why: str) -> Refused:
    return Refused("invalid", "The network plan is not valid", why)
