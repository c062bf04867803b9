"""The packet rules of a node: what each tap may say. Who reaches a guest from outside, its network's router judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luhyaapi import log
from luhyaapi.conf import bridge_of, rules_of
from luhyaapi.contracts.specs import Nic
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.edge.plan import Card, RulesPlan, Segment
from nc.drivers.base import tap_name

_log = log.get(__name__)


def plan(bridge: str, cards: Mapping[str, Sequence[Nic]]) -> RulesPlan:
    """A function of the cards alone, by instance. Of two that claim one address the first has it."""
    segments: dict[int, Segment] = {}
    made: list[Card] = []
    claimed: set[str] = set()
    listed = [(instance, nic) for instance, nics in cards.items() for nic in nics if nic.subnet and nic.gateway]
    for instance, nic in sorted(listed, key=lambda each: (each[0], each[1].mac)):
        if claimed & {nic.mac, nic.ip}:
            _log.warning("an address is on two cards of this node", instance=instance, mac=nic.mac, ip=nic.ip)
            continue
        claimed |= {nic.mac, nic.ip}
        segment = segments.setdefault(nic.segment, Segment(
            name=f"n{nic.segment}", bridge=bridge_of(bridge, nic.segment), subnets=(nic.subnet,), judged=True, routers=(nic.gateway,),
            talk=not nic.isolated,
        ))
        made.append(Card(tap=tap_name(instance, nic.mac), mac=nic.mac, addresses=(nic.ip,), segment=segment.name))
    return RulesPlan(name=rules_of(Role.NC, bridge), segments=tuple(segments.values()), cards=tuple(made))
