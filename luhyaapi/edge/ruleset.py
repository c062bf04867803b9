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
    is_unique_local,
    owned,
    subnet,
)

Place = tuple[str, str]
"""Family of the table, and name of the set or map."""

INET, BRIDGE = "inet", "bridge"
FORWARDS: Place = (INET, "forwards")

# Keys with a prefix in them make a set that the kernel copies with each change, so no forward stands in one. That a packet comes by a
# forward is known by the address it was sent to: what others translate at addresses without one permits nothing.
_INET = """
    map forwards { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
    map limited { type inet_proto . ipv4_addr . inet_service : verdict; }
    set forwarded { type ipv4_addr; }
    map elastic { type ipv4_addr : ipv4_addr; }
    map behind { type ipv4_addr : ipv4_addr; }
    set aliased { type ipv4_addr; }
    map cards4 { type ipv4_addr : verdict; }
    map cards6 { type ipv6_addr : verdict; }
    set uplinks { type ifname; }
    set bridges { type ifname; }
    set shut { type ifname; }
    set routed { type ipv4_addr; flags interval; }
    set within { type ipv4_addr . ipv4_addr; flags interval; }
    set talking { type ipv4_addr . ipv4_addr; flags interval; }
    set gateways { type ifname; }
    set inside { type ifname; }
    set routers { type ipv4_addr; }
    set outer4 { type ifname . ipv4_addr; flags interval; }
    set outer6 { type ifname . ipv6_addr; flags interval; }
    set closed4 { type ifname . ipv4_addr; flags interval; }
    set closed6 { type ifname . ipv6_addr; flags interval; }
    set masked4 { type ifname . ipv4_addr; flags interval; }
    set masked6 { type ifname . ipv6_addr; flags interval; }

    chain arrive {
        type filter hook prerouting priority mangle; policy accept;
        iifname . ip saddr @outer4 drop
        iifname . ip6 saddr @outer6 drop
    }
    chain translate {
        meta l4proto { tcp, udp } dnat ip to meta l4proto . ip daddr . th dport map @forwards
        dnat ip to ip daddr map @elastic
    }
    chain translate_in {
        type nat hook prerouting priority dstnat; policy accept;
        jump translate
    }
    chain translate_own {
        type nat hook output priority -100; policy accept;
        jump translate
    }
    chain translate_out {
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat ip saddr . ip daddr @within masquerade
        ct status dnat ct original ip daddr @forwarded ip daddr != @routed masquerade
        oifname @uplinks snat ip to ip saddr map @behind
        oifname . ip saddr @masked4 masquerade
        oifname . ip6 saddr @masked6 masquerade
    }
    chain judge {
        type filter hook forward priority filter; policy accept;
        ct direction reply accept
        ct state related accept
        icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
        oifname . ip saddr @closed4 ip saddr != @aliased drop
        oifname . ip6 saddr @closed6 drop
        ct status dnat ct original ip daddr @forwarded goto judge_forwarded
        iifname @shut oifname != @bridges jump judge_stray
        iifname @gateways oifname != @uplinks oifname != @bridges jump judge_stray
        ip daddr vmap @cards4
        ip6 daddr vmap @cards6
        ip saddr . ip daddr @talking accept
        oifname @gateways drop
    }
    chain receive {
        type filter hook input priority filter; policy accept;
        iifname @uplinks iifname != @bridges ip daddr @routed drop
        iifname != @inside accept
        ct direction reply accept
        udp dport 67 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        iifname @gateways icmp type echo-request accept
        iifname @gateways meta l4proto { tcp, udp } th dport 53 accept
        iifname != @gateways ip daddr @routers accept
        drop
    }
    chain judge_stray {
        ct status dnat return
        drop
    }
    chain judge_forwarded {
        meta l4proto tcp meta l4proto . ct original ip daddr . ct original proto-dst vmap @limited
        meta l4proto udp meta l4proto . ct original ip daddr . ct original proto-dst vmap @limited
        accept
    }
"""
# Before br_netfilter (priority 0), so that nothing forged is ever seen by connection tracking. What is neither ARP nor IP may hide IP
# (a VLAN's tag), so it is dropped. RFC 6980 has hosts ignore announcements in fragments, which nobody can look into here.
_BRIDGE = """
    set taps { type ifname; }
    set macs { type ifname . ether_addr; }
    set claims4 { type ifname . ether_addr . ipv4_addr; }
    set claims6 { type ifname . ether_addr . ipv6_addr; }
    set targets { typeof iifname . ether saddr . @th,64,128; }
    set apart { type ifname; }
    set alone { type ifname; }
    set fenced { type ifname . ipv4_addr; flags interval; }
    set fenced6 { type ifname; }
    set routers { type ipv4_addr; }

    chain guard {
        type filter hook prerouting priority filter; policy accept;
        iifname @taps goto guard_tap
    }
    chain guard_tap {
        iifname . ether saddr != @macs drop
        ether type ip goto guard_ip
        ether type arp goto guard_arp
        ether type ip6 goto guard_ip6
        drop
    }
    chain guard_ip {
        udp sport 67 drop
        iifname . ether saddr . ip saddr @claims4 accept
        ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
        drop
    }
    chain guard_arp {
        arp htype 1 arp ptype ip arp hlen 6 arp plen 4 iifname . arp saddr ether . arp saddr ip @claims4 accept
        arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @macs accept
        drop
    }
    chain guard_ip6 {
        udp sport 547 drop
        icmpv6 type { nd-router-advert, nd-redirect } drop
        icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @targets drop
        iifname . ether saddr . ip6 saddr @claims6 accept
        ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . ether saddr . @th,64,128 @targets accept
        ip6 saddr :: icmpv6 type { mld-listener-report, mld2-listener-report } accept
        drop
    }
    chain separate {
        type filter hook forward priority filter; policy accept;
        iifname @apart oifname @apart drop
        oifname @alone drop
        oifname . ip saddr @fenced ip saddr != @routers drop
        oifname @fenced6 ether type ip6 drop
    }
"""
STATIC = {INET: _INET, BRIDGE: _BRIDGE}


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
        if not is_router:
            made.put(INET, "shut", f'"{uplink}"')
    for segment in plan.segments:
        made.put(INET, "bridges", f'"{segment.bridge}"')
        _put_segment(made, segment, plan.uplinks)
    for alias in plan.aliases:
        _put_alias(made, alias)
    _put_forwards(made, plan.forwards)
    for card in plan.cards:
        _put_card(made, card, segments[card.segment])
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
    # Guests of a bridged segment come by their bridge also when it leads outside.
    for uplink, net in product([each for each in uplinks if each != segment.bridge], subnets):
        entry = f'"{uplink}" . {net}'
        made.put(INET, f"outer{net.version}", entry)
        if not segment.way_out:
            made.put(INET, f"closed{net.version}", entry)
        elif net.version == 4 or is_unique_local(net):
            made.put(INET, f"masked{net.version}", entry)
    for net in subnets:
        if segment.gateway and net.version == 4:
            made.put(INET, "routed", str(net))
    for one, other in product([net for net in subnets if net.version == 4], repeat=2):
        made.put(INET, "within", f"{one} . {other}")
        if segment.gateway and segment.talk:
            made.put(INET, "talking", f"{one} . {other}")
    _put_doors(made, segment)


def _put_doors(made: Ruleset, segment: Segment) -> None:
    if segment.gateway:
        made.put(INET, "gateways", f'"{segment.bridge}"')
    if segment.gateway or segment.judged:
        made.put(INET, "inside", f'"{segment.bridge}"')
    for router in (one for one in map(address, segment.routers) if segment.judged and one.version == 4):
        made.put(INET, "routers", str(router))
        made.put(BRIDGE, "routers", str(router))


def _put_alias(made: Ruleset, alias: Alias) -> None:
    made.put(INET, "elastic", alias.address, alias.to)
    made.put(INET, "behind", alias.to, alias.address)
    made.put(INET, "aliased", alias.to)


def _put_card(made: Ruleset, card: Card, segment: Segment) -> None:
    if not segment.judged:
        verdict = made.goto("card", tuple(_card_rules(segment, card.allow)))
        for one in owned(card):
            made.put(INET, f"cards{one.version}", str(one), verdict)
    if card.tap:
        _put_guard(made, card, segment)


def _put_guard(made: Ruleset, card: Card, segment: Segment) -> None:
    tap = f'"{card.tap}"'
    made.put(BRIDGE, "taps", tap)
    made.put(BRIDGE, "macs", f"{tap} . {card.mac}")
    if not segment.talk:
        # With the gateway here nothing that is bridged to the guest may reach it; else what is not another tap's is judged by its address.
        made.put(BRIDGE, "alone" if segment.gateway else "apart", tap)
        if segment.judged:
            made.put(BRIDGE, "fenced6", tap)
            for net in _of(segment.subnets, 4):
                made.put(BRIDGE, "fenced", f"{tap} . {net}")
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
