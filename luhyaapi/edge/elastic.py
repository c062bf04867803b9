"""Elastic addresses on a link of this host: put there when nobody else has them, announced, and taken away."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection
from typing import Any

from luhyaapi import log
from luhyaapi.edge import arp
from luhyaapi.errors import Failed
from luhyaapi.process import run

_log = log.get(__name__)
_S = 10.0


def keep(links: Collection[str], wanted: Collection[str], mark: str) -> None:
    """Have exactly these addresses, beside those that are none of ours, on the link whose subnet they are of, or the first.

    Ours are known by ``mark``, at most four signs, in their label. Raises Failed(network): what somebody on the wire, or this host itself,
    has already is not taken, all others are there by then; the trouble's ``address`` says which.
    """
    troubles: list[Failed] = []
    if wanted and not links:
        raise Failed("network", "This host has no card for public addresses", hint="Set network.outside of the cluster.")
    drop(links, wanted, mark)
    there = _addresses()
    homes = {address: _home(address, links, there) for address in wanted}
    for link in sorted(set(homes.values())):
        new = [address for address, home in homes.items() if home == link and not _is_there(address, link, mark, there)]
        own = {address for address in new if any(entry["local"] == address and entry.get("label") != f"{other}:{mark}" for other, entry in there)}
        troubles += [
            Failed("network", f"The public address {address} is this host's own", "another program put it there", address=address) for address in sorted(own)
        ]
        try:
            troubles += _add(link, [address for address in new if address not in own], mark)
        except Failed as e:
            troubles.append(e)
    if troubles:
        raise troubles[0]


def drop(links: Collection[str], wanted: Collection[str], mark: str) -> None:
    """Have none of ours but these. Raises Failed(network)."""
    there = _addresses()
    homes = {address: _home(address, links, there) for address in wanted if links}
    for link, entry in there:
        if entry.get("label") == f"{link}:{mark}" and homes.get(entry["local"]) != link:
            _ip("address", "delete", f"{entry['local']}/32", "dev", link)
            _log.info("public address taken away", address=entry["local"], link=link)


def found(mark: str) -> set[str]:
    """Those of ours that are on any link now. Raises Failed(network)."""
    return {entry["local"] for link, entry in _addresses() if entry.get("label") == f"{link}:{mark}"}


def _add(link: str, addresses: list[str], mark: str) -> list[Failed]:
    if not addresses:
        return []
    if len(f"{link}:{mark}") > 15:
        raise Failed("network", f"The name of the card {link} is too long for public addresses", "at most ten signs")
    taken = arp.who_has(link, addresses)
    for address in addresses:
        if address not in taken:
            _ip("address", "add", f"{address}/32", "dev", link, "label", f"{link}:{mark}")
            _log.info("public address is here", address=address, link=link)
    arp.announce(link, [address for address in addresses if address not in taken])
    return [
        Failed("network", f"The public address {address} is somebody else's", f"{macs[0]} on {link} answers for it", hint="Retire it, or free it there.",
               address=address)
        for address, macs in sorted(taken.items())
    ]


def _home(address: str, links: Collection[str], there: list[tuple[str, dict[str, Any]]]) -> str:
    one = ipaddress.IPv4Address(address)
    nets = [(link, ipaddress.IPv4Network(f"{e['local']}/{e['prefixlen']}", strict=False)) for link, e in there if link in links and e["prefixlen"] < 32]
    return next((link for link, net in nets if one in net), next(iter(links)))


def _is_there(address: str, link: str, mark: str, there: list[tuple[str, dict[str, Any]]]) -> bool:
    return any(home == link and entry["local"] == address and entry.get("label") == f"{link}:{mark}" for home, entry in there)


def _addresses() -> list[tuple[str, dict[str, Any]]]:
    shown = json.loads(_ip("-json", "-4", "address", "show") or "[]")
    return [(link["ifname"], entry) for link in shown if link for entry in link.get("addr_info", ())]


def _ip(*words: str) -> str:
    done = run(["ip", *words], timeout_s=_S, check=False)
    if done.code and b"File exists" not in done.stderr:
        raise Failed("network", "An address of this host could not be changed", done.stderr.decode("utf-8", "replace").strip())
    return done.text
