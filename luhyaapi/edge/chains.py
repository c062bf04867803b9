"""A plan as iptables, ip6tables and ebtables have it: chains of rules, in the order in which they are asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from luhyaapi.contracts.specs import Allow
from luhyaapi.contracts.vocabulary import Allowed
from luhyaapi.edge.plan import (
    ANY_LINK_LOCAL,
    METADATA,
    METADATA_MAC,
    METADATA_PORT,
    Address,
    Card,
    Forward,
    RulesPlan,
    Segment,
    Subnet,
    address,
    collapsed,
    is_limited,
    metadata_link,
    owned,
    subnet,
)
from luhyaapi.subnets import is_unique_local

IPV4, IPV6, ETHERNET = "iptables", "ip6tables", "ebtables"
Table = tuple[str, str]
"""Program, and name of the table."""

JUMPS: dict[Table, tuple[tuple[str, str], ...]] = {
    (IPV4, "mangle"): (("PREROUTING", "arrive"),),
    (IPV4, "nat"): (("PREROUTING", "in"), ("OUTPUT", "in"), ("POSTROUTING", "out")),
    (IPV4, "filter"): (("FORWARD", "judge"), ("INPUT", "receive")),
    (IPV6, "mangle"): (("PREROUTING", "arrive"),),
    (IPV6, "nat"): (("POSTROUTING", "out"),),
    (IPV6, "filter"): (("FORWARD", "judge"), ("INPUT", "receive")),
    (ETHERNET, "nat"): (("PREROUTING", "guard"),),
    (ETHERNET, "filter"): (("INPUT", "inward"), ("FORWARD", "separate"), ("OUTPUT", "outward")),
}
"""Per table the built-in chains and those of ours they jump to."""


class Chains:
    """Per table our chains and their rules; ``prefix`` begins the name of each."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.tables: dict[Table, dict[str, list[str]]] = {
            table: {prefix + chain: [] for _from, chain in jumps} for table, jumps in JUMPS.items()
        }

    def add(self, program: str, table: str, chain: str, *rules: str) -> None:
        """Rules at the end of a chain, which is made if need be."""
        self.tables[program, table].setdefault(self.prefix + chain, []).extend(rules)

    def jump(self, program: str, table: str, rules: Iterable[str]) -> str:
        """The words that jump to a chain of these rules; equal rules share one, which is named by them."""
        listed = list(rules)
        name = hashlib.blake2s("|".join(listed).encode(), digest_size=5).hexdigest()
        self.tables[program, table][self.prefix + name] = listed
        return f"-j {self.prefix}{name}"


def render(plan: RulesPlan, prefix: str, *, is_router: bool) -> Chains:
    """The chains of a plan that was checked.

    Unless the host is a router anyway, what comes by an uplink reaches guests and what is translated, not its other networks.
    """
    made = Chains(prefix)
    ours = plan.model_copy(update={"segments": tuple(segment for segment in plan.segments if not segment.judged)})
    _add_translations(made, ours)
    for program, version in ((IPV4, 4), (IPV6, 6)):
        made.add(program, "filter", "judge", "-m conntrack --ctdir REPLY -j ACCEPT", "-m conntrack --ctstate RELATED -j ACCEPT")
        if version == 6:
            made.add(program, "filter", "judge", *(f"-p ipv6-icmp --icmpv6-type {kind} -j ACCEPT" for kind in (134, 135, 136)))
        _add_subnets(made, ours, program, version)
    _add_forwards(made, plan.forwards)
    bridges = [segment.bridge for segment in plan.segments]
    if not is_router:
        _add_strays(made, list(dict.fromkeys((*plan.uplinks, *plan.inner))), bridges)
    gateways = [segment for segment in plan.segments if segment.gateway]
    _add_strays(made, [each.bridge for each in gateways], (*plan.uplinks, *bridges), "leave")
    segments = {segment.name: segment for segment in plan.segments}
    _add_metadata(made, plan, [card.tap for card in plan.cards if segments[card.segment].metadata])
    for card in plan.cards:
        segment = segments[card.segment]
        if not segment.judged:
            _add_card(made, card, segment, plan.uplinks)
        if card.tap:
            _add_guard(made, card, segment)
    _add_closed(made, gateways)
    _add_doors(made, plan.segments)
    return made


def _add_closed(made: Chains, gateways: Iterable[Segment]) -> None:
    """What no card allows does not come through here."""
    for segment in gateways:
        for program, nets in ((IPV4, _of(segment.subnets, 4)), (IPV6, _of(segment.subnets, 6))) if segment.talk else ():
            made.add(program, "filter", "judge", *(f"-s {one} -d {other} -j ACCEPT" for one in nets for other in nets))
    # Where bridged frames are judged as routed ones (net.bridge.bridge-nf-call-iptables), questions to the metadata service pass here too.
    question = f"-d {METADATA} -p tcp --dport {METADATA_PORT} -j ACCEPT"
    made.add(IPV4, "filter", "judge", *(f"-i {segment.bridge} -o {segment.bridge} {question}" for segment in gateways))
    for program in (IPV4, IPV6):
        made.add(program, "filter", "judge", *(f"-o {segment.bridge} -j DROP" for segment in gateways))


def _add_doors(made: Chains, segments: Sequence[Segment]) -> None:
    """What guests reach of this host, and that their gateway is nobody else's to ask."""
    own = [f"-i {link} -j RETURN" for link in ("lo", *(segment.bridge for segment in segments))]
    for segment in (each for each in segments if each.gateway):
        for program, version in ((IPV4, 4), (IPV6, 6)):
            strange = made.jump(program, "filter", [*own, "-j DROP"])
            made.add(program, "filter", "receive", *(f"-d {net} {strange}" for net in _of(segment.subnets, version)))
    for segment in segments:
        if not segment.gateway and not segment.judged:
            continue
        dns = [f"-p {protocol} --dport 53 -j ACCEPT" for protocol in ("tcp", "udp")] if segment.gateway else []
        known = ["-m conntrack --ctdir REPLY -j ACCEPT"]
        asked = {
            IPV4: ["-p udp --dport 67 -j ACCEPT", *(["-p icmp --icmp-type 8 -j ACCEPT"] if segment.gateway else [])],
            IPV6: ["-p udp --dport 547 -j ACCEPT",
                   *(f"-p ipv6-icmp --icmpv6-type {kind} -j ACCEPT" for kind in (133, 135, 136, *((128,) if segment.gateway else ())))],
        }
        for program, version in ((IPV4, 4), (IPV6, 6)):
            routers = [f"-d {one} -j ACCEPT" for one in map(address, segment.routers) if one.version == version]
            rules = [*known, *asked[program], *dns, *routers, "-j DROP"]
            made.add(program, "filter", "receive", f"-i {segment.bridge} {made.jump(program, 'filter', rules)}")


def _add_translations(made: Chains, plan: RulesPlan) -> None:
    for forward in plan.forwards:
        made.add(IPV4, "nat", "in", f"-d {forward.address} -p {forward.protocol} --dport {forward.port} "
                                    f"-j DNAT --to-destination {forward.to}:{forward.to_port}")
    for alias in plan.aliases:
        made.add(IPV4, "nat", "in", f"-d {alias.address} -j DNAT --to-destination {alias.to}")
    for segment in plan.segments:
        nets = _of(segment.subnets, 4)
        made.add(IPV4, "nat", "out", *(f"-s {one} -d {other} -m conntrack --ctstate DNAT -j MASQUERADE" for one in nets for other in nets))
    for each in _addresses(plan.forwards):
        made.add(IPV4, "nat", "out", f"-m conntrack --ctstate DNAT --ctorigdst {each} -j {made.prefix}away")
    for segment in plan.segments:
        made.add(IPV4, "nat", "away", *(f"-d {net} -j RETURN" for net in _of(segment.subnets, 4) if segment.gateway))
    made.add(IPV4, "nat", "away", "-j MASQUERADE")
    for uplink in plan.uplinks:
        made.add(IPV4, "nat", "out", *(f"-s {alias.to} -o {uplink} -j SNAT --to-source {alias.address}" for alias in plan.aliases))


def _add_subnets(made: Chains, plan: RulesPlan, program: str, version: int) -> None:
    """What every packet of a subnet must keep to."""
    if version == 4:
        made.add(program, "filter", "closed", *(f"-s {alias.to} -j RETURN" for alias in plan.aliases))
    made.add(program, "filter", "closed", "-j DROP")
    ways = [(segment, net, uplink) for segment in plan.segments if not segment.shared for net in _of(segment.subnets, version)
            for uplink in plan.uplinks if uplink != segment.bridge]
    for segment, net, uplink in ways:
        made.add(program, "mangle", "arrive", f"-i {uplink} -s {net} -j DROP")
        if not segment.way_out:
            made.add(program, "filter", "judge", f"-o {uplink} -s {net} -j {made.prefix}closed")
        elif version == 4 or is_unique_local(net):
            made.add(program, "nat", "out", f"-s {net} -o {uplink} -j MASQUERADE")


def _add_forwards(made: Chains, forwards: tuple[Forward, ...]) -> None:
    for each in _addresses(forwards):
        made.add(IPV4, "filter", "judge", f"-m conntrack --ctstate DNAT --ctorigdst {each} -j {made.prefix}forwarded")
    for forward in filter(is_limited, forwards):
        asked = f"-p {forward.protocol} -m conntrack --ctorigdst {forward.address} --ctorigdstport {forward.port}"
        sources = collapsed(forward.sources)
        made.add(IPV4, "filter", "forwarded", *(f"-s {source} {asked} -j ACCEPT" for source in sources), f"{asked} -j DROP")
    made.add(IPV4, "filter", "forwarded", "-j ACCEPT")


def _add_strays(made: Chains, come_by: Sequence[str], leave_by: Sequence[str], chain: str = "stray") -> None:
    """What comes by these links and leaves by others than those is dropped, unless it is translated."""
    for program, translated in ((IPV4, ["-m conntrack --ctstate DNAT -j RETURN"]), (IPV6, [])):
        made.add(program, "filter", "judge", *(f"-i {link} -j {made.prefix}{chain}" for link in come_by))
        made.add(program, "filter", chain, *(f"-o {link} -j RETURN" for link in dict.fromkeys(leave_by)), *translated, "-j DROP")


def _add_card(made: Chains, card: Card, segment: Segment, uplinks: Iterable[str]) -> None:
    for program, version in ((IPV4, 4), (IPV6, 6)):
        for uplink in uplinks if segment.shared else ():
            made.add(program, "mangle", "arrive", *(f"-i {uplink} -s {one} -j DROP" for one in _owned(card, version)))
        allowed = made.jump(program, "filter", [*_allow_rules(card.allow, version), "-j DROP"])
        judged = made.jump(program, "filter", [*_own_rules(segment, version, allowed), allowed])
        made.add(program, "filter", "judge", *(f"-d {one} {judged}" for one in _owned(card, version)))


def _own_rules(segment: Segment, version: int, allowed: str) -> Iterator[str]:
    """What comes from the card's own segment; ``allowed`` leads to the rules for all else."""
    nets = [*_of(segment.subnets, version), *([ANY_LINK_LOCAL] if version == 6 else [])]
    server, client = (67, 68) if version == 4 else (547, 546)
    if segment.shared:
        yield f"-p udp --sport {server} --dport {client} -j ACCEPT"
    elif segment.talk:
        yield from (f"-s {net} -j ACCEPT" for net in nets)
    else:
        yield from (f"-s {net} -p udp --sport {server} --dport {client} -j ACCEPT" for net in nets)
        yield from (f"-s {one} {allowed}" for one in map(address, segment.routers) if one.version == version)
        yield from (f"-s {net} -j DROP" for net in nets)


def _allow_rules(allow: Iterable[Allow], version: int) -> Iterator[str]:
    for each in allow:
        source = subnet(each.source)
        if source.version == version:
            icmp = "icmp" if version == 4 else "ipv6-icmp"
            ports = f"--dport {each.first_port}:{each.last_port} "
            what = {Allowed.ANY: "", Allowed.ICMP: f"-p {icmp} ", Allowed.TCP: f"-p tcp {ports}", Allowed.UDP: f"-p udp {ports}"}
            yield f"-s {source} {what[each.protocol]}-j ACCEPT"


def _add_guard(made: Chains, card: Card, segment: Segment) -> None:
    """Options of ebtables stand in the order in which it saves them."""
    request, icmp = "-p ARP --arp-op Request --arp-ip-src 0.0.0.0", "-p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type"
    made.add(ETHERNET, "nat", "guard", f"-i {card.tap} " + made.jump(ETHERNET, "nat", [
        f"-s ! {card.mac} -j DROP",
        "-p IPv4 --ip-proto udp --ip-sport 67 -j DROP",
        *(f"-p IPv4 --ip-src {one} -j RETURN" for one in _owned(card, 4)),
        "-p IPv4 --ip-src 0.0.0.0 --ip-dst 255.255.255.255 --ip-proto udp --ip-sport 68 --ip-dport 67 -j RETURN",
        f"-p ARP --arp-mac-src ! {card.mac} -j DROP",
        *(f"-p ARP --arp-ip-src {one} -j RETURN" for one in _owned(card, 4)),
        f"{request} -j RETURN",
        "-p IPv6 --ip6-proto udp --ip6-sport 547 -j DROP",
        *(f"{icmp} {kind} -j DROP" for kind in ("router-advertisement", "redirect")),
        *(f"-p IPv6 --ip6-src {one} -j RETURN" for one in _owned(card, 6)),
        *(f"-p IPv6 --ip6-src :: --ip6-proto ipv6-icmp --ip6-icmp-type {kind} -j RETURN" for kind in (131, 135, 143)),
        "-j DROP",
    ]))
    if segment.metadata:
        made.add(ETHERNET, "nat", "guard", f"-i {card.tap} -p IPv4 --ip-dst {METADATA} -j dnat --to-dst {METADATA_MAC} --dnat-target ACCEPT")
    if segment.talk:
        return
    if segment.gateway:
        made.add(ETHERNET, "filter", "separate", f"-o {card.tap} -j DROP")
    else:
        made.add(ETHERNET, "filter", "separate", f"-i {card.tap} -j {made.prefix}apart")
        made.add(ETHERNET, "filter", "apart", f"-o {card.tap} -j DROP")
        if segment.judged:
            made.add(ETHERNET, "filter", "separate", f"-o {card.tap} " + made.jump(ETHERNET, "filter", [
                *(f"-p IPv4 --ip-src {one} -j RETURN" for one in map(address, segment.routers) if one.version == 4),
                *(f"-p IPv4 --ip-src {net} -j DROP" for net in _of(segment.subnets, 4)),
                *(f"-p IPv6 --ip6-src {one} -j RETURN" for one in map(address, segment.routers) if one.version == 6),
                *(f"-p IPv6 --ip6-src {net} -j DROP" for net in (*_of(segment.subnets, 6), ANY_LINK_LOCAL)),
            ]))


def _add_metadata(made: Chains, plan: RulesPlan, asking: list[str]) -> None:
    """Nobody but asking taps and the links of the service ever hears of its address."""
    served = [segment.bridge for segment in plan.segments if segment.metadata]
    if not served:
        return
    tcp = f"--ip-proto tcp --ip-{{}}port {METADATA_PORT} -j ACCEPT"
    ways = {
        side: [f"-{way} {tap} {what}" for tap in asking for what in
               (f"-p IPv4 --ip-{side} {METADATA} {tcp.format(side[0])}", f"-p ARP --arp-ip-{side} {METADATA} -j ACCEPT")]
        for side, way in (("src", "o"), ("dst", "i"))
    }
    to_taps, to_service = (made.jump(ETHERNET, "filter", [*ways[side], "-j DROP"]) for side in ("src", "dst"))
    no_one_else = made.jump(ETHERNET, "filter", [
        f"{kind}-{side} {METADATA} -j DROP" for kind in ("-p IPv4 --ip", "-p ARP --arp-ip") for side in ("src", "dst")
    ])
    for link in map(metadata_link, served):
        made.add(ETHERNET, "filter", "inward", f"-i {link} -j DROP")
        made.add(ETHERNET, "filter", "separate", f"-i {link} {to_taps}", f"-o {link} {to_service}")
        made.add(ETHERNET, "filter", "outward", f"-o {link} -j DROP")
    for tap in asking:
        made.add(ETHERNET, "filter", "inward", f"-i {tap} {no_one_else}")
        made.add(ETHERNET, "filter", "separate", f"-i {tap} {no_one_else}", f"-o {tap} {no_one_else}")
        made.add(ETHERNET, "filter", "outward", f"-o {tap} {no_one_else}")


def _addresses(forwards: Iterable[Forward]) -> list[str]:
    return list(dict.fromkeys(forward.address for forward in forwards))


def _owned(card: Card, version: int) -> list[Address]:
    return sorted((one for one in owned(card) if one.version == version), key=int)


def _of(subnets: Iterable[str], version: int) -> list[Subnet]:
    return [net for net in map(subnet, subnets) if net.version == version]
