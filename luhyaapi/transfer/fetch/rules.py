"""What an administrator lets users fetch, and to which address and port a connection may be opened at all."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

WELL_KNOWN = {"http": 80, "https": 443, "ftp": 21}
"""Scheme to its port; no other scheme is fetched."""

_SERVICES = frozenset({
    1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5671, 5672, 5900, 5984, 6000, 6379, 6443, 8500, 9042,
    9092, 9200, 9300, 10250, 11211, 15672, 16509, 16514, 25672, 27017, 61613,
})
_NEVER = tuple(map(ipaddress.ip_network, ("0.0.0.0/32", "::/128", "224.0.0.0/4", "255.255.255.255/32", "ff00::/8")))
_NOT_GLOBAL = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
    "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)))
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Rules:
    """Bounds of one fetch.

    ``largest_bytes``: more is refused. ``total_s``: seconds for everything, retries and pauses too. ``idle_s``: in each so many
    seconds at least 1 KiB/s must come (half of ``rate``, if that is less), or the connection counts as cut. ``allowed``: networks
    that may be reached although they are not public. ``denied``: networks that may not although they are, such as a campus whose
    servers have public addresses; ``allowed`` goes before it. ``redirects`` at most. ``rate`` in bytes/s, 0 for no limit.
    ``authority``: a file of certificates trusted beside the system's.
    """

    largest_bytes: int
    total_s: float = 3600.0
    idle_s: float = 60.0
    allowed: tuple[Network, ...] = ()
    redirects: int = 3
    rate: int = 0
    denied: tuple[Network, ...] = ()
    authority: Path | None = None


def address_refused(text: str, rules: Rules) -> str:
    """Why a connection to the address ``text`` may not be opened, as a clause; "" when it may."""
    try:
        address = _unwrapped(ipaddress.ip_address(text))
    except ValueError:
        return "it is not an address"
    if _in(address, _NEVER):
        return "it is not one host's address"
    if _in(address, rules.allowed):
        return ""
    if _in(address, rules.denied):
        return "the administrator denies that network"
    return "" if _public(address) else "it is not a public address"


def port_refused(port: int, scheme: str) -> str:
    """Why a port may not be connected to, as a clause; "" when it may.

    The addresses are the wall. This is a second one for networks an administrator allows: databases, brokers and mail servers
    there would read the lines of a request as orders, so below 1024 only the scheme's own port is open, above all but theirs.
    """
    if port == WELL_KNOWN[scheme] or (1024 <= port <= 65535 and port not in _SERVICES):
        return ""
    return f"port {port} is no port for {scheme}"


def _unwrapped(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def _public(address: Address) -> bool:
    if address in _NAT64:
        # how a host with IPv6 alone reaches an IPv4 address: it is as public as that
        return _public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.version == 6 and (address not in _UNICAST_6 or _isatap(address)):
        return False
    return address.is_global and not _in(address, _NOT_GLOBAL)


def _isatap(address: Address) -> bool:
    """Whether its lower half carries an IPv4 address for a tunnel."""
    return (int(address) >> 32) & 0xFDFFFFFF == 0x5EFE


def _in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
