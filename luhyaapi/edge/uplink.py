"""The network card by which guests of one host reach the rest of their cluster: put into their bridge, and kept there."""

from __future__ import annotations

import json
from typing import Any

from luhyaapi import clock
from luhyaapi.edge import arp
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run

_IP_S = 10.0
_CARRIER_S = 4.0
"""A card that was down has its carrier after so long, or no cable."""


def attach(card: str, bridge: str, ip: tuple[str, ...] = ("ip",), alone: str = "") -> None:
    """Have ``card`` up and in ``bridge``; nothing happens when it is. ``ip``: the words that begin an ip command.

    ``alone``: an address of ours that nobody behind the card may have, or the card stays out: two gateways of one network would be
    each other's guests. Raises Refused(invalid) for a card with addresses of its own (this host would lose its own way out), or of another
    bridge, Failed(network) when it is not there or cannot be changed.
    """
    found = _look(card, ip)
    if found.get("master") == bridge and "UP" in found["flags"]:
        return
    if found.get("master") not in (None, bridge):
        raise Refused("invalid", f"The card {card} belongs to {found['master']}", hint="Choose another card in network.uplink.")
    addresses = [a["local"] for a in found.get("addr_info", ()) if a.get("scope") == "global"]
    if addresses:
        raise Refused("invalid", f"The card {card} has addresses of its own", f"{', '.join(addresses)}: this host would lose its way out",
                      hint="Give guests a card, or a VLAN on one, that has no address: network.uplink.")
    if alone:
        _refuse_second(card, alone, found)
    done = run([*ip, "link", "set", "dev", card, "master", bridge, "up"], timeout_s=_IP_S, check=False)
    if done.code:
        raise Failed("network", f"The card {card} could not be put into {bridge}", done.stderr.decode("utf-8", "replace").strip())


def _refuse_second(card: str, address: str, found: dict[str, Any]) -> None:
    run(["ip", "link", "set", "dev", card, "up"], timeout_s=_IP_S, check=False)
    until = clock.monotonic() + _CARRIER_S
    while "UP" not in found["flags"] and "LOWER_UP" not in _look(card, ("ip",))["flags"] and clock.monotonic() < until:
        clock.sleep(0.05)
    if others := arp.who_has(card, (address,)):
        raise Failed("network", f"Another cluster has this network: {address} is its gateway", f"{others[address][0]} behind {card} answers for it",
                     hint="Give this cluster another network.subnet, or a LAN of its own.")


def _look(card: str, ip: tuple[str, ...]) -> dict[str, Any]:
    done = run([*ip, "-json", "address", "show", "dev", card], timeout_s=_IP_S, check=False)
    if done.code:
        why = done.stderr.decode("utf-8", "replace").strip()
        raise Failed("network", f"The card {card} is not there", why, hint="network.uplink names a network card of this host.")
    return next(dict(each) for each in json.loads(done.text) if each)
