"""A plan as nftables has it: tables whose chains never change, the elements of their sets, and a chain per kind of permission."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from luhyaapi.contracts.specs import Allow
from luhyaapi.contracts.vocabulary import Allowed
from luhyaapi.edge.plan import (
    ANY_LINK_LOCAL,
    Alias,
    Card,
    Forward,
    RulesPlan,
    Segment,
    address,
    collapsed,
    is_limited,
    metadata_link,
    owned,
    subnet,
)
from luhyaapi.edge.tables import BRIDGE, INET, STATIC
from luhyaapi.subnets import is_unique_local

Place = tuple[str, str]
"""Family of the table, and name of the set or map."""

FORWARDS: Place = (INET, "forwards")


@dataclass
class Ruleset:
    """``elements``: per set its elements, the data of a map as value, "" in a set. ``chains``: of the table inet, by name their rules."""

    elements: dict[Place, dict[str, str]] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def put(self, family: str, name: str, entry: str, data: str = "") -> None:
        """One more element."""
        self.elements.setdefault((family, name), {})[entry] = data

    def goto(self, kind: str, rules: tuple[str, ...]) -> str:
        """The verdict that leads to a chain of these rules; equal rules share one, which is named by them."""
        name = f"{kind}-{hashlib.blake2s('|'.join(rules).encode(), digest_size=8).hexdigest()}"
        self.chains[name] = rules
        return f"goto {name}"


def render(plan: RulesPlan, *, is_router: bool) -> Ruleset:
    """What the tables hold for a plan that was checked.

    Unless the host is a router anyway, what comes by an uplink reaches guests and what is translated, not its other networks.
    """
    made = Ruleset()
    segments = {segment.name: segment for segment in plan.segments}
    for uplink in plan.uplinks:
        made.put(INET, "uplinks", f'"{uplink}"')
    for link in () if is_router else dict.fromkeys((*plan.uplinks, *plan.inner)):
        made.put(INET, "shut", f'"{link}"')
    for segment in plan.segments:
        made.put(INET, "bridges", f'"{segment.bridge}"')
        _put_doors(made, segment)
        if not segment.judged:
            _put_segment(made, segment, plan.uplinks)
        if segment.metadata:
            made.put(BRIDGE, "answering", f'"{metadata_link(segment.bridge)}"')
    for alias in plan.aliases:
        _put_alias(made, alias)
    _put_forwards(made, plan.forwards)
    for card in plan.cards:
        _put_card(made, card, segments[card.segment], plan.uplinks)
    return made


def entries(forwards: Iterable[Forward]) -> dict[str, str]:
    """Forwards as elements of their map."""
    return {_entry(each): f"{each.to} . {each.to_port}" for each in forwards}


def _put_forwards(made: Ruleset, forwards: tuple[Forward, ...]) -> None:
    if forwards:
        made.elements[FORWARDS] = entries(forwards)
        made.elements[INET, "forwarded"] = dict.fromkeys((each.address for each in forwards), "")
    for forward in forwards:
        if is_limited(forward):
            made.put(INET, "limited", _entry(forward), made.goto("from", (f"ip saddr {_any_of(forward.sources)} accept", "drop")))


def _entry(forward: Forward) -> str:
    return f"{forward.protocol} . {forward.address} . {forward.port}"


def _put_segment(made: Ruleset, segment: Segment, uplinks: Iterable[str]) -> None:
    subnets = [subnet(text) for text in segment.subnets]
    # Guests of a bridged segment come by their bridge also when it leads outside. Of a shared one others come by the uplinks too.
    for uplink, net in product([each for each in uplinks if each != segment.bridge and not segment.shared], subnets):
        entry = f'"{uplink}" . {net}'
        made.put(INET, f"outer{net.version}", entry)
        if not segment.way_out:
            made.put(INET, f"closed{net.version}", entry)
        elif net.version == 4 or is_unique_local(net):
            made.put(INET, f"masked{net.version}", entry)
    for net in subnets if segment.gateway else ():
        made.put(INET, _by_version("routed", net.version), str(net))
    for one, other in ((one, other) for one, other in product(subnets, repeat=2) if one.version == other.version):
        if one.version == 4:
            made.put(INET, "within", f"{one} . {other}")
        if segment.gateway and segment.talk:
            made.put(INET, _by_version("talking", one.version), f"{one} . {other}")


def _put_doors(made: Ruleset, segment: Segment) -> None:
    if segment.gateway:
        made.put(INET, "gateways", f'"{segment.bridge}"')
    if segment.gateway or segment.judged:
        made.put(INET, "inside", f'"{segment.bridge}"')
    for router in map(address, segment.routers if segment.judged else ()):
        made.put(INET, _by_version("routers", router.version), str(router))
        made.put(BRIDGE, _by_version("routers", router.version), str(router))


def _by_version(name: str, version: int) -> str:
    return name if version == 4 else f"{name}6"


def _put_alias(made: Ruleset, alias: Alias) -> None:
    made.put(INET, "elastic", alias.address, alias.to)
    made.put(INET, "behind", alias.to, alias.address)
    made.put(INET, "aliased", alias.to)


def _put_card(made: Ruleset, card: Card, segment: Segment, uplinks: Iterable[str]) -> None:
    if not segment.judged:
        verdict = made.goto("card", tuple(_card_rules(segment, card.allow)))
        for one in owned(card):
            made.put(INET, f"cards{one.version}", str(one), verdict)
            for uplink in uplinks if segment.shared else ():
                made.put(INET, f"outer{one.version}", f'"{uplink}" . {one}')
    if card.tap:
        _put_guard(made, card, segment)


def _put_guard(made: Ruleset, card: Card, segment: Segment) -> None:
    tap = f'"{card.tap}"'
    made.put(BRIDGE, "taps", tap)
    if segment.metadata:
        made.put(BRIDGE, "asking", tap)
    made.put(BRIDGE, "macs", f"{tap} . {card.mac}")
    if not segment.talk:
        # With the gateway here nothing that is bridged to the guest may reach it; else what is not another tap's is judged by its address.
        made.put(BRIDGE, "alone" if segment.gateway else "apart", tap)
        if segment.judged:
            for net in (*map(subnet, segment.subnets), ANY_LINK_LOCAL):
                made.put(BRIDGE, _by_version("fenced", net.version), f"{tap} . {net}")
    for one in owned(card):
        made.put(BRIDGE, f"claims{one.version}", f"{tap} . {card.mac} . {one}")
        if one.version == 6:
            made.put(BRIDGE, "targets", f"{tap} . {card.mac} . 0x{int(one):032x}")


def _card_rules(segment: Segment, allow: Iterable[Allow]) -> Iterator[str]:
    for ip, nets in (("ip", _of(segment.subnets, 4)), ("ip6", [*_of(segment.subnets, 6), str(ANY_LINK_LOCAL)])):
        routers = [str(each) for each in map(address, segment.routers) if each.version == (4 if ip == "ip" else 6)]
        if not nets:
            continue
        own = f"{ip} saddr {_any_of(nets)}"
        if segment.shared:
            yield "udp sport 67 udp dport 68 accept" if ip == "ip" else "udp sport 547 udp dport 546 accept"
            continue
        if segment.talk:
            yield f"{own} accept"
            continue
        server, client = (67, 68) if ip == "ip" else (547, 546)
        yield f"{own} udp sport {server} udp dport {client} accept"
        yield f"{own} {ip} saddr != {_any_of(routers)} drop" if routers else f"{own} drop"
    yield from map(_allow_rule, allow)
    yield "drop"


def _allow_rule(allow: Allow) -> str:
    source = subnet(allow.source)
    ip, icmp = ("ip", "icmp") if source.version == 4 else ("ip6", "ipv6-icmp")
    what = {
        Allowed.TCP: f" tcp dport {allow.first_port}-{allow.last_port}", Allowed.UDP: f" udp dport {allow.first_port}-{allow.last_port}",
        Allowed.ICMP: f" meta l4proto {icmp}", Allowed.ANY: "",
    }[allow.protocol]
    # An address that ends in /0 is any address, which nftables says by the protocol alone.
    return f"{ip} saddr {source}{what} accept" if source.prefixlen else f"meta nfproto ipv{source.version}{what} accept"


def _of(subnets: Iterable[str], version: int) -> list[str]:
    return [str(net) for net in map(subnet, subnets) if net.version == version]


def _any_of(sources: Iterable[str]) -> str:
    """An anonymous set, whose elements must not overlap."""
    return f"{{ {', '.join(collapsed(sources))} }}"


# ---- as text, and back


def whole(made: Ruleset, table: str) -> str:
    """Commands that put it in the place of whatever the tables held, in one transaction."""
    return "".join([
        *(f"add table {family} {table}\ndelete table {family} {table}\ntable {family} {table} {{{text}}}\n" for family, text in STATIC.items()),
        *(_chain(table, name, rules) for name, rules in made.chains.items()),
        *(_elements("add", table, place, entries) for place, entries in made.elements.items()),
    ])


def none(table: str) -> str:
    """Commands that leave nothing of it, whether it was there or not."""
    return "".join(f"add table {family} {table}\ndelete table {family} {table}\n" for family in STATIC)


def difference(old: Ruleset, new: Ruleset, table: str) -> str:
    """Commands that make ``new`` of ``old``; empty when nothing differs."""
    places = [*old.elements, *(place for place in new.elements if place not in old.elements)]
    less, more = [], []
    for place in places:
        before, after = old.elements.get(place, {}), new.elements.get(place, {})
        less.append(_elements("delete", table, place, {k: v for k, v in before.items() if after.get(k) != v}))
        more.append(_elements("add", table, place, {k: v for k, v in after.items() if before.get(k) != v}))
    return "".join([
        *(_chain(table, name, rules) for name, rules in new.chains.items() if name not in old.chains),
        *less, *more,
        *(f"flush chain inet {table} {name}\ndelete chain inet {table} {name}\n" for name in old.chains if name not in new.chains),
    ])


def _chain(table: str, name: str, rules: Iterable[str]) -> str:
    return f"add chain inet {table} {name}\n" + "".join(f"add rule inet {table} {name} {rule}\n" for rule in rules)


def _elements(verb: str, table: str, place: Place, entries: Mapping[str, str]) -> str:
    if not entries:
        return ""
    family, name = place
    listed = ", ".join(f"{entry} : {data}" if data else entry for entry, data in entries.items())
    return f"{verb} element {family} {table} {name} {{ {listed} }}\n"


def elements_of(objects: Iterable[Mapping[str, Any]]) -> dict[Place, dict[str, str]]:
    """The elements in what libnftables lists, spelt as :func:`render` does; sets without any are left out."""
    found: dict[Place, dict[str, str]] = {}
    for each in objects:
        body = each.get("set") or each.get("map") or {}
        if entries := body.get("elem"):
            is_link = body["type"] == "ifname" or body["type"][0] == "ifname"
            pairs = (entry if "map" in each else (entry, "") for entry in entries)
            found[body["family"], body["name"]] = {_spelt(entry, is_link=is_link): _spelt(data) for entry, data in pairs}
    return found


def _spelt(value: Any, *, is_link: bool = False) -> str:
    match value:
        case {"concat": [first, *rest]}:
            return " . ".join([_spelt(first, is_link=is_link), *map(_spelt, rest)])
        case {"prefix": {"addr": addr, "len": length}}:
            return f"{addr}/{length}"
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case str() if value.startswith("0x"):
            return f"0x{int(value, 16):032x}"
        case _:
            return f'"{value}"' if is_link else str(value)
