"""Guest networks as pure maths: which subnets are possible, the gateway of one, and what of it may be lent."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from luhyaapi.errors import Refused

_WIDEST, _NARROWEST = 16, 29


def subnet_of(text: str) -> ipaddress.IPv4Network:
    """The guest network of that name in CIDR, /16 to /29. Raises Refused(invalid)."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as e:
        raise Refused("invalid", "The guest network is not valid", str(e)) from e
    if not _WIDEST <= subnet.prefixlen <= _NARROWEST:
        raise Refused(
            "invalid", "The guest network is not valid",
            f"{subnet} has {subnet.num_addresses} addresses; /{_WIDEST} to /{_NARROWEST} is possible",
        )
    if subnet.is_loopback or subnet.is_multicast or subnet.is_link_local or subnet.is_unspecified:
        raise Refused("invalid", "The guest network is not valid", f"{subnet} is not for guests")
    return subnet


def gateway_of(subnet: ipaddress.IPv4Network) -> str:
    """The gateway's address: the first of the subnet."""
    return str(subnet.network_address + 1)


def addresses(subnet: ipaddress.IPv4Network) -> Iterator[str]:
    """Every address that may be lent, lowest first: not the network's, the gateway's or the broadcast one."""
    first = int(subnet.network_address)
    for number in range(first + 2, int(subnet.broadcast_address)):
        yield str(ipaddress.IPv4Address(number))
