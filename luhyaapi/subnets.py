"""Guest networks as pure maths: which subnets are possible, the gateway of one, what of it may be lent, and with which MAC."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator

from luhyaapi.errors import Refused

_WIDEST, _NARROWEST = 16, 29


def subnet_of(text: str) -> ipaddress.IPv4Network:
    """The guest network of that name in CIDR, /16 to /29. Raises Refused(invalid)."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as e:
        why = (":" not in text and meant(text)) or f"{text[:60]!r}: give IPv4 addresses in CIDR, for example 10.40.0.0/24"
        raise Refused("invalid", "The guest network is not valid", why) from e
    if not _WIDEST <= subnet.prefixlen <= _NARROWEST:
        raise Refused(
            "invalid", "The guest network is not valid",
            f"{subnet} has {subnet.num_addresses} addresses; /{_WIDEST} to /{_NARROWEST} is possible",
        )
    if subnet.is_loopback or subnet.is_multicast or subnet.is_link_local or subnet.is_unspecified or subnet.is_reserved:
        raise Refused("invalid", "The guest network is not valid", f"{subnet} is not for guests")
    return subnet


def meant(text: str) -> str:
    """Which network somebody may have meant who gave an address in it; empty where none can be told."""
    try:
        return f"{text[:60]!r} is an address in {ipaddress.ip_interface(text).network}" if "/" in text and "%" not in text else ""
    except ValueError:
        return ""


def gateway_of(subnet: ipaddress.IPv4Network) -> str:
    """The gateway's address: the first of the subnet."""
    return str(subnet.network_address + 1)


def addresses(subnet: ipaddress.IPv4Network) -> Iterator[str]:
    """Every address that may be lent, lowest first: not the network's, the gateway's or the broadcast one."""
    first = int(subnet.network_address)
    for number in range(first + 2, int(subnet.broadcast_address)):
        yield str(ipaddress.IPv4Address(number))


def mac_of(cluster: str, ip: str) -> str:
    """The MAC that belongs to an address: locally administered, the same for ever, and two addresses never share one.

    The last four octets are the address, the second one tells clusters apart (one in 256 pairs look alike there;
    they never meet on one bridge).
    """
    tail = ipaddress.IPv4Address(ip).packed
    cluster_octet = hashlib.sha256(cluster.encode()).digest()[0]
    return bytes((0x02, cluster_octet, *tail)).hex(":")
