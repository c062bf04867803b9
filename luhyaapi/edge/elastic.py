"""Elastic addresses on a link of this host: put there when nobody else has them, announced, and taken away."""

from __future__ import annotations

import ipaddress
import json
import select
import socket
import struct
from collections.abc import Collection
from typing import Any

from luhyaapi import clock, log
from luhyaapi.errors import Failed
from luhyaapi.process import run

_log = log.get(__name__)
_S = 10.0
PROBES, PROBE_S = 2, 0.25
"""How often and how long the wire is asked who has an address (RFC 5227 asks three times in two seconds; a wire of ours is a room)."""
_ARP, _REQUEST, _REPLY = 0x0806, 1, 2
_EVERYBODY = b"\xff" * 6
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")


def keep(links: Collection[str], wanted: Collection[str], mark: str) -> None:
    """Have exactly these addresses, beside those that are none of ours, on the link whose subnet they are of, or the first.

    Ours are known by ``mark``, at most four signs, in their label. Raises Failed(network): what somebody on the wire, or this host itself,
    has already is not taken, all others are there by then.
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
        troubles += [Failed("network", f"The public address {address} is this host's own", "another program put it there") for address in sorted(own)]
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


def _add(link: str, addresses: list[str], mark: str) -> list[Failed]:
    if not addresses:
        return []
    if len(f"{link}:{mark}") > 15:
        raise Failed("network", f"The name of the card {link} is too long for public addresses", "at most ten signs")
    taken = _asked(link, addresses)
    for address in addresses:
        if address not in taken:
            _ip("address", "add", f"{address}/32", "dev", link, "label", f"{link}:{mark}")
            _log.info("public address is here", address=address, link=link)
    _announce(link, [address for address in addresses if address not in taken])
    return [
        Failed("network", f"The public address {address} is somebody else's", f"{mac} on {link} answers for it", hint="Retire it, or free it there.")
        for address, mac in sorted(taken.items())
    ]


def _asked(link: str, addresses: list[str]) -> dict[str, str]:
    """Who answers for each of them that somebody has; the MAC. Raises Failed(network)."""
    found: dict[str, str] = {}
    with _open(link) as wire:
        for _ in range(PROBES):
            for address in addresses:
                # from nobody: so no neighbour takes us for its owner yet
                _send(wire, _REQUEST, b"\0" * 4, b"\0" * 6, address)
            until = clock.monotonic() + PROBE_S
            while (left := until - clock.monotonic()) > 0 and select.select([wire], [], [], left)[0]:
                frame = wire.recv(2048)
                if len(frame) >= _FRAME.size:
                    _, _, _, _, _, _, _, _, mac, sender, _, _ = _FRAME.unpack_from(frame)
                    address = socket.inet_ntoa(sender)
                    if address in addresses and mac != _mac(wire):
                        found[address] = mac.hex(":")
    return found


def _announce(link: str, addresses: list[str]) -> None:
    """Neighbours that knew them elsewhere learn that they are here."""
    if addresses:
        with _open(link) as wire:
            for address in addresses * 2:
                _send(wire, _REQUEST, socket.inet_aton(address), _EVERYBODY, address)


def _send(wire: socket.socket, kind: int, sender: bytes, target: bytes, address: str) -> None:
    mac = _mac(wire)
    wire.send(_FRAME.pack(_EVERYBODY, mac, _ARP, 1, 0x0800, 6, 4, kind, mac, sender, target, socket.inet_aton(address)))


def _open(link: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
    try:
        wire.bind((link, _ARP))
    except OSError as e:
        wire.close()
        raise Failed("network", f"The card {link} cannot be used", str(e)) from e
    return wire


def _mac(wire: socket.socket) -> bytes:
    return bytes(wire.getsockname()[4])


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
