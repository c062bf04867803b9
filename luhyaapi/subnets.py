"""Guest networks as pure maths: which subnets are possible, the gateway of one, what of it may be lent, and with which MAC and IPv6 address."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator

from luhyaapi.errors import Refused

_WIDEST, _NARROWEST = 16, 29
_LINK_LOCAL = ipaddress.IPv6Network("fe80::/64")
_UNIQUE_LOCAL, _GLOBAL = ipaddress.IPv6Network("fc00::/7"), ipaddress.IPv6Network("2000::/3")
_INTERFACE = 64
"""How many bits of an IPv6 address are the card's (RFC 4291, 2.5.1)."""


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


def mac_of(cluster: str, ip: str) -> str:
    """The MAC that belongs to an address: locally administered, the same for ever, and two addresses never share one.

    The last four octets are the address, the second one tells clusters apart (one in 256 pairs look alike there;
    they never meet on one bridge).
    """
    tail = ipaddress.IPv4Address(ip).packed
    cluster_octet = hashlib.sha256(cluster.encode()).digest()[0]
    return bytes((0x02, cluster_octet, *tail)).hex(":")


def subnet6_of(text: str) -> ipaddress.IPv6Network:
    """The IPv6 side of a guest network in CIDR: a /64, unique local (fc00::/7) or global (2000::/3). Raises Refused(invalid)."""
    try:
        if "%" in text:
            raise ValueError("a zone is of one host, and may be any text")
        subnet = ipaddress.IPv6Network(text)
    except ValueError as e:
        raise Refused("invalid", "The IPv6 network is not valid", str(e)) from e
    if subnet.prefixlen != _INTERFACE:
        raise Refused("invalid", "The IPv6 network is not valid", f"{subnet} is no /64: a guest's address is told from its MAC, which takes 64 bits")
    if not (subnet.subnet_of(_UNIQUE_LOCAL) or subnet.subnet_of(_GLOBAL)):
        raise Refused("invalid", "The IPv6 network is not valid", f"{subnet} is neither unique local (fc00::/7) nor global (2000::/3)")
    return subnet


def is_unique_local(subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether only a translated address leaves it."""
    return isinstance(subnet, ipaddress.IPv6Network) and subnet.subnet_of(_UNIQUE_LOCAL)


def gateway6_of(subnet6: str) -> str:
    """The gateway's own IPv6 address: the first of the subnet. No card's is ever the same: those have ff:fe in their middle."""
    return str(ipaddress.IPv6Network(subnet6).network_address + 1)


def ip6_of(subnet6: str, mac: str) -> str:
    """The IPv6 address of a card: told from its MAC (modified EUI-64; RFC 4291, appendix A), so it needs no pool of its own."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return str(ipaddress.IPv6Network(subnet6)[int.from_bytes(interface)])


def link_local(mac: str) -> str:
    """The IPv6 link-local address that a card makes of its MAC."""
    return ip6_of(str(_LINK_LOCAL), mac)


def bridge_mac(gateway: str) -> str:
    """The MAC of the bridge that is the gateway of a network: always the same, where a bridge by itself takes a guest's."""
    return bytes((2, 0, *ipaddress.IPv4Address(gateway).packed)).hex(":")
