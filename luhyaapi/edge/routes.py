"""Where the outside lies: the links of a host's default routes, and its address there."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from luhyaapi.errors import Failed
from luhyaapi.process import run

_S = 10.0


def outside(namespace: str = "") -> tuple[str, ...]:
    """The links of the IPv4 default routes, in order of preference; none on a host without one. Raises Failed(network).

    ``namespace`` names a network namespace (``ip netns``); empty is our own.
    """
    done = run(["ip", *(["-n", namespace] if namespace else []), "-4", "-json", "route", "show", "default"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The routes of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    routes = sorted(json.loads(done.stdout or b"[]"), key=lambda route: route.get("metric", 0))
    hops = [hop for route in routes for hop in route.get("nexthops", [route])]
    return tuple(dict.fromkeys(hop["dev"] for hop in hops if "dev" in hop))


def links_to(addresses: Collection[str]) -> tuple[str, ...]:
    """The links by which this host reaches those addresses, by its main table; none for what it has no route to. Raises Failed(network)."""
    if not addresses:
        return ()
    done = run(["ip", "-4", "-json", "route", "show"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The routes of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    ways = [
        (ipaddress.IPv4Network("0.0.0.0/0" if route["dst"] == "default" else route["dst"]), route.get("metric", 0), route["dev"])
        for route in json.loads(done.stdout or b"[]") if "dev" in route
    ]
    ways.sort(key=lambda way: (-way[0].prefixlen, way[1]))
    found = {next((link for net, _metric, link in ways if one in net), "") for one in map(ipaddress.IPv4Address, addresses)}
    return tuple(sorted(found - {""}))


def card_in(subnet: str) -> str:
    """The link that is up and has an address of that subnet (CIDR); empty: none has. Raises Failed(network)."""
    wanted = ipaddress.IPv4Network(subnet)
    done = run(["ip", "-4", "-json", "address", "show", "up"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The addresses of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    links = [(link["ifname"], entry["local"]) for link in json.loads(done.stdout or b"[]") if link for entry in link.get("addr_info", ())]
    return next((name for name, address in links if ipaddress.IPv4Address(address) in wanted), "")


def own(addresses: Collection[str]) -> dict[str, str]:
    """Those of these addresses that this host has itself, with the MAC of the card. Raises Failed(network)."""
    done = run(["ip", "-json", "address", "show"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The addresses of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    links = [(entry["local"], link.get("address", "")) for link in json.loads(done.stdout or b"[]") if link for entry in link.get("addr_info", ())]
    return {address: mac for address, mac in links if address in addresses and mac}


def address_in(door: str) -> str:
    """The IPv4 address in a URL that others can reach; empty for a name, for loopback and for none."""
    try:
        address = ipaddress.IPv4Address(urlsplit(door).hostname or "")
    except ValueError:
        return ""
    return "" if address.is_loopback else str(address)


def own_address() -> str:
    """The address by which this host speaks to the outside; empty when it has no way there. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # nobody's (RFC 5737)
        except OSError:
            return ""
        return str(asked.getsockname()[0])
