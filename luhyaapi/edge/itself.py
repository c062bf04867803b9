"""What a host has itself, and no rule for guests takes from it: its own addresses, and the networks they are of."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass

from luhyaapi.edge.plan import RulesPlan, Segment, address, subnet
from luhyaapi.errors import Failed
from luhyaapi.process import run

_S = 10.0


def spared(rules: RulesPlan, mark: str) -> RulesPlan:
    """The rules without public addresses that are this host's own, and without networks it is in by another card: by those it would reach nobody there.

    A network that is served here already stays: its guests are never without rules. ``mark`` is in the label of what
    :func:`luhyaapi.edge.elastic.keep` put there. Raises Failed(network).
    """
    there = [each for each in _look() if each.label != f"{each.link}:{mark}"]
    out = [segment for segment in rules.segments if not segment.shared and _is_elsewhere(segment, there)]
    names, nets = {segment.name for segment in out}, [subnet(text) for segment in out for text in segment.subnets]
    own = {str(each.interface.ip) for each in there}
    return rules.model_copy(update={
        "segments": tuple(each for each in rules.segments if each.name not in names),
        "cards": tuple(each for each in rules.cards if each.segment not in names),
        "forwards": tuple(each for each in rules.forwards if not any(address(each.to) in net for net in nets)),
        "aliases": tuple(each for each in rules.aliases if each.address not in own and not any(address(each.to) in net for net in nets)),
    })


def _is_elsewhere(segment: Segment, there: list[_Address]) -> bool:
    wanted = [subnet(text) for text in segment.subnets]
    links = {each.link for each in there if any(net.version == each.interface.version and net.overlaps(each.interface.network) for net in wanted)}
    return bool(links) and segment.bridge not in links


@dataclass(frozen=True)
class _Address:
    link: str
    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    label: str


def _look() -> list[_Address]:
    done = run(["ip", "-json", "address", "show"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The addresses of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    return [
        _Address(link["ifname"], ipaddress.ip_interface(f"{entry['local']}/{entry['prefixlen']}"), entry.get("label", ""))
        for link in json.loads(done.stdout or b"[]") if link for entry in link.get("addr_info", ()) if entry["scope"] != "link"
    ]
