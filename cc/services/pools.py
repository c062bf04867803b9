"""What a cluster lends to guests, as pure maths: addresses, their MACs, display ports, and the next free one."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Container, Iterable, Iterator
from typing import TypeVar

from luhyaapi.conf import Network
from luhyaapi.contracts.specs import Forward
from luhyaapi.errors import Refused, Unavailable

T = TypeVar("T", str, int)

_WIDEST, _NARROWEST = 16, 29
_PORTS = range(1024, 65536)


def subnet_of(text: str) -> ipaddress.IPv4Network:
    """The guest network a setting names, /16 to /29. Raises Refused(invalid)."""
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
    """The bridge's own address: the first of the subnet."""
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


def ports(first: int, count: int) -> range:
    """The display ports that may be lent. Raises Refused(invalid) when they are not all ordinary ports."""
    if count < 1 or first not in _PORTS or first + count - 1 not in _PORTS:
        raise Refused("invalid", "The display ports are not valid", f"{count} from {first}; {_PORTS[0]} to {_PORTS[-1]} is possible")
    return range(first, first + count)


def forwards(network: Network, display_port: int) -> tuple[Forward, ...]:
    """How the forwarded ports of the guest with that display port are reached; no two guests share one. Raises Refused(invalid)."""
    first = network.forward_first + (display_port - network.display_first) * len(network.forwarded)
    if network.forwarded and first + len(network.forwarded) - 1 not in _PORTS:
        raise Refused("invalid", "The forwarded ports are not valid", f"{first} is needed; {_PORTS[0]} to {_PORTS[-1]} is possible")
    return tuple(Forward(guest_port=guest, port=first + n) for n, guest in enumerate(network.forwarded))


def pick(candidates: Iterable[T], taken: Container[T], cooling: Container[T] = (), what: str = "address") -> T:
    """The first candidate that is neither lent nor resting after its last use.

    Raises Unavailable(no_capacity), counting how many are lent and how many rest.
    """
    lent = resting = 0
    for candidate in candidates:
        if candidate in taken:
            lent += 1
        elif candidate in cooling:
            resting += 1
        else:
            return candidate
    raise Unavailable(
        "no_capacity", f"No {what} is free",
        f"of {lent + resting}, {lent} are lent and {resting} rest after their last use",
    )
