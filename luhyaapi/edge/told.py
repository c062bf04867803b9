"""What dnsmasq is told of a guest network: its arguments, and a line of hosts and of names for each card. Pure."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from luhyaapi import subnets
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork

NAMES_PORT = 53
_ANNOUNCED_S, _WAY_S = 60, 1800
"""How often guests hear of the way of IPv6 unasked, and how long they believe it (RFC 4861, 6.2.1)."""
DOMAIN = "edu.internal"
"""What follows the names of guests; nobody outside has it (ICANN keeps "internal" free)."""
# Words and times that dnsmasq would take for an order ("ignore this host", "lease for 10 minutes") and not for a name.
_NO_NAME = re.compile(r"^(ignore|infinite|\d+[smhdw]?)?$")


def hostname(text: str, instance: str) -> str:
    """``text`` as a host name a guest can bear (a-z, 0-9, dash; 63 at most), or the instance's id when nothing is left."""
    name = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    return instance if _NO_NAME.match(name) else name


def hosts_argument(folder: Path) -> str:
    """By what a running one of that folder is known."""
    return f"--dhcp-hostsdir={folder / 'hosts'}"


def argv(folder: Path, plan: EdgeNetwork, subnet: ipaddress.IPv4Network, link: str, *, names: bool) -> list[str]:
    """Program and arguments for a plan that was checked, at that link; ``names``: it answers for names too."""
    world = [] if plan.way_out else ["--no-resolv"]
    naming = [
        f"--port={NAMES_PORT}", f"--hostsdir={folder / 'names'}", "--expand-hosts", f"--domain={DOMAIN}", f"--local=/{DOMAIN}/", "--domain-needed",
        "--bogus-priv", f"--cache-size={_remembered(subnet)}", *world,
    ]
    return [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", *(naming if names else ("--port=0", "--no-resolv")),
        f"--interface={link}", "--bind-interfaces", "--except-interface=lo",
        f"--dhcp-range={subnet.network_address},static,{subnet.netmask},infinite",
        f"--dhcp-lease-max={subnet.num_addresses * 2}", f"--dhcp-option=option:router,{plan.gateway}",
        *(() if plan.shared else ("--dhcp-authoritative",)), "--dhcp-ignore=tag:!known", "--no-ping", "--leasefile-ro",
        *([f"--dhcp-option=option:mtu,{plan.mtu}"] if plan.mtu else ()), *([] if plan.shared or not plan.subnet6 else _announced(plan)),
        hosts_argument(folder), f"--pid-file={folder / 'dnsmasq.pid'}", "--log-facility=-", "--user=root",
    ]


def _announced(plan: EdgeNetwork) -> list[str]:
    """Announced to its guests: the way, also where it leads to no more than answers, and that addresses are lent: no card may make one up."""
    mtu = f"mtu:{plan.mtu}," if plan.mtu else ""
    net = ipaddress.IPv6Network(plan.subnet6)
    return [
        f"--dhcp-range={net.network_address},static,{net.prefixlen},infinite", "--enable-ra",
        f"--ra-param={plan.bridge},{mtu}{_ANNOUNCED_S},{_WAY_S}",
    ]


def own6(plan: EdgeNetwork) -> tuple[str, ...]:
    """The bridge's own addresses of IPv6, as ``address/prefix``."""
    return (f"{subnets.gateway6_of(plan.subnet6)}/{ipaddress.IPv6Network(plan.subnet6).prefixlen}",) if plan.subnet6 else ()


def _remembered(subnet: ipaddress.IPv4Network) -> int:
    """Names of the world it remembers; its table of all names is made for a tenth of that, and it goes through it with each new guest."""
    return min(max(subnet.num_addresses, 150), 10_000)


def name_line(lease: EdgeLease, plan: EdgeNetwork) -> str:
    """The addresses of a card with its name, a line each."""
    name = hostname(lease.hostname, lease.instance)
    return "".join(f"{address} {name}\n" for address in (lease.ip, *_addresses6(lease, plan)))


def file_name(lease: EdgeLease) -> str:
    """The file of a card."""
    return lease.mac.replace(":", "-")


def host_line(lease: EdgeLease, plan: EdgeNetwork) -> str:
    """What a card is lent."""
    sixth = "".join(f"[{address}]," for address in _addresses6(lease, plan))
    return f"{lease.mac},{lease.ip},{sixth}{hostname(lease.hostname, lease.instance)},infinite\n"


def _addresses6(lease: EdgeLease, plan: EdgeNetwork) -> list[str]:
    return [subnets.ip6_of(plan.subnet6, lease.mac)] if plan.subnet6 else []
