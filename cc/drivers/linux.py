"""Edge driver for a Linux host: a bridge and a dnsmasq for each network of the plan."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cc.drivers.base import EdgePlan, check
from luhyaapi import log
from luhyaapi.conf import Settings, bridge_of
from luhyaapi.contracts.specs import LinkFacts, Nic
from luhyaapi.contracts.vocabulary import SPANNING, NetworkMode, Role
from luhyaapi.edge import arp, connections, discovery, elastic, links, neighbours, routes, rules_for, vxlan
from luhyaapi.edge import plan as packets
from luhyaapi.edge.base import RulesDriver
from luhyaapi.edge.dnsmasq import DnsmasqNetwork
from luhyaapi.edge.neighbours import Seen
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.edge.plan import Forward, RulesPlan
from luhyaapi.errors import Failed, Trouble

_log = log.get(__name__)
_ANSWER_S = 0.1
"""Who is on the same wire answers within milliseconds, and is asked twice."""


class LinuxEdge:
    """The networks of this host: that of ``bridge`` remembers in ``folder``, every other in a folder below it, named like its bridge.

    ``uplink`` is the card of the first; the others reach other hosts by their span. ``rules``: who keeps the packet rules; None: nobody
    does. ``outside``: the cards behind which the outside lies; none: those of the default routes.
    """

    def __init__(self, folder: Path, bridge: str, uplink: str = "", rules: RulesDriver | None = None, outside: tuple[str, ...] = ()) -> None:
        self._folder, self._others, self._bridge, self._uplink = folder, folder / "networks", bridge, uplink
        self._rules, self._outside = rules, outside
        self._mark = f"{zlib.crc32(bridge.encode()) & 0xFFFF:04x}"
        self._lock = threading.Lock()
        self._made: dict[str, DnsmasqNetwork] = {}

    def apply(self, plan: EdgePlan) -> None:
        """Have every network as planned, and none that is not."""
        check(plan)
        troubles: list[Trouble] = []
        with self._lock:
            for bridge in sorted(self._remembered() - {each.bridge for each in plan.networks}):
                _tried(troubles, partial(self._take_away, bridge))
            for each in plan.networks:
                _tried(troubles, partial(self._make, each))
            if len(plan.networks) > 1:
                _tried(troubles, partial(self._cut_off, plan))
            _tried(troubles, partial(self._rule, plan.rules))
        if troubles:
            raise troubles[0]

    def lend(self, bridge: str, leases: Sequence[EdgeLease]) -> bool:
        """Serve these cards too."""
        with self._lock:
            return self._network(bridge).lend(leases)

    def found(self) -> EdgePlan | None:
        """Every network as it is served now, and the rules in force."""
        with self._lock:
            there = [_seen(found) for bridge in sorted(self._remembered()) if (found := self._network(bridge).found())]
            rules = self._rules.found() if self._rules else None
        if rules:
            rules = rules.model_copy(update={"uplinks": (), "inner": ()})
        return EdgePlan(networks=tuple(there), rules=rules) if there else None

    def look(self, nic: Nic, plan: EdgePlan, forwards: Collection[Forward]) -> tuple[LinkFacts, ...]:
        """What this host has of the way of that card: its network, its ports and addresses, the way out."""
        there = links.look()
        rules = self._rules.found() if self._rules else None
        bridge = bridge_of(self._bridge, nic.segment)
        network = next((each for each in plan.networks if each.bridge == bridge), None)
        checks: list[tuple[str, links.Check]] = []
        if network and not network.shared:
            checks += [("bridge", lambda: links.bridge(there, bridge)), *links.gateways(there, bridge, network.gateway, network.subnet, network.subnet6)]
            if self._uplink and bridge == self._bridge:
                checks.append(("wire", lambda: links.wire(there, self._uplink, bridge)))
            checks.append(("span", lambda: links.span(bridge, network.span)))
        if network and (not network.shared or routes.card_in(network.subnet)):
            checks.append(("dhcp", lambda: links.dhcp(self._network(bridge), nic.mac, nic.ip)))
        if self._rules and (wanted := plan.rules):
            checks.append(("guards", lambda: links.guards(wanted, rules)))
        if network and not network.shared:
            checks += links.answers(bridge, nic, far=True)
        if self._rules:
            checks.append(("connections", lambda: links.connections(*connections.look())))
        has_ways = bool(forwards)
        checks.append(("forwards", lambda: links.forwards(forwards, rules)))
        if public := [each.address for each in (plan.rules.aliases if plan.rules else ()) if each.to == nic.ip]:
            has_ways = True
            checks.append(("elastic", lambda: links.elastics(public, elastic.found(self._mark))))
        if has_ways or (network and not network.shared and nic.way_out):
            # a host that lost its way out still knows by which cards it had one
            known = self._outside or routes.outside() or (rules.uplinks if rules else ())
            checks += [("uplink", lambda: links.uplinks(there, known)), ("route", lambda: links.route(routes.outside()))]
        if network and not network.shared:
            checks.append(("out", lambda: links.out(is_open=nic.way_out)))
        return links.seen(nic.ip, checks)

    def answering(self, nics: Collection[Nic]) -> dict[str, str]:
        """Who has their addresses already, by ARP and neighbour discovery on each wire they will be on; also this host, which does not ask itself.

        By their addresses of IPv4, for with another one a card has another MAC and so another one of IPv6.
        """
        by_link: dict[str, list[Nic]] = {}
        for nic in nics:
            if link := self._link_of(nic):
                by_link.setdefault(link, []).append(nic)
        asked = [(who, link, {address: nic.ip for nic in there if (address := of(nic))})
                 for link, there in by_link.items() for who, of in ((arp.who_has, _ip), (discovery.who_has, _ip6))]
        with ThreadPoolExecutor(max(len(asked), 1), thread_name_prefix="asking") as asking:
            said = list(asking.map(lambda each: _who_has(*each), asked))
        ours = routes.own([nic.ip for nic in nics]) if by_link else {}
        return ours | {ip: mac for each in said for ip, mac in each.items()}

    def _link_of(self, nic: Nic) -> str:
        if nic.mode is NetworkMode.CAMPUS:
            return routes.card_in(nic.subnet) if nic.subnet else ""
        return bridge_of(self._bridge, nic.segment) if nic.mode in SPANNING else ""

    def seen(self, network: EdgeNetwork) -> tuple[Seen, ...]:
        """Whom the kernel remembers there."""
        link = routes.card_in(network.subnet) if network.shared else network.bridge
        return neighbours.seen(link) if link else ()

    def rule(self, rules: RulesPlan) -> None:
        """Other packet rules, of the networks that are there."""
        packets.check(rules)
        with self._lock:
            self._rule(rules)

    def _rule(self, rules: RulesPlan | None) -> None:
        if self._rules is None:
            return
        uplinks = self._outside or routes.outside()
        addresses = [alias.address for alias in rules.aliases] if rules else []
        # Never one without its rules: what comes for it would be this host's own.
        elastic.drop(uplinks, addresses, self._mark)
        if rules is None:
            self._rules.down()
        else:
            own = [packets.subnet(text) for segment in rules.segments for text in segment.subnets]
            elsewhere = {each.to for each in rules.forwards if not any(packets.address(each.to) in net for net in own)}
            self._rules.apply(rules.model_copy(update={"uplinks": uplinks, "inner": routes.links_to(elsewhere)}))
            elastic.keep(uplinks, addresses, self._mark)

    def _make(self, network: EdgeNetwork) -> None:
        if network.shared and not routes.card_in(network.subnet):
            # Without a card of ours there, the DHCP server of its owner knows our guests by their MACs.
            self._take_away(network.bridge)
            return
        self._network(network.bridge).apply(network)
        if network.span and network.span.peers:
            vxlan.ensure(network.bridge, network.span)

    def _take_away(self, bridge: str) -> None:
        for vni, of in vxlan.links().items():
            if of == bridge:
                vxlan.remove(vni)
        self._network(bridge).down()

    def _cut_off(self, plan: EdgePlan) -> None:
        """Our bridges span to no host but those of the plan."""
        wanted = {each.span.vni for each in plan.networks if each.span and each.span.peers}
        for vni, bridge in vxlan.links().items():
            if vni not in wanted and bridge in {each.bridge for each in plan.networks}:
                vxlan.remove(vni)

    def close(self) -> None:
        """Networks and rules outlive us; the next driver of this folder takes them over."""
        if self._rules:
            self._rules.close()

    def down(self) -> None:
        """Leave nothing of any."""
        with self._lock:
            for bridge in sorted(self._remembered() - {self._bridge}):
                self._take_away(bridge)
            self._network(self._bridge).down()
            self._rule(None)

    def _remembered(self) -> set[str]:
        others = {each.name for each in self._others.iterdir()} if self._others.is_dir() else set()
        return others | ({self._bridge} if self._folder.is_dir() else set())

    def _network(self, bridge: str) -> DnsmasqNetwork:
        if bridge not in self._made:
            is_first = bridge == self._bridge
            self._made[bridge] = DnsmasqNetwork(self._folder if is_first else self._others / bridge, bridge, self._uplink if is_first else "")
        return self._made[bridge]


def _seen(network: EdgeNetwork) -> EdgeNetwork:
    """The network with those hosts it really spans to."""
    span = network.span
    if span is None or not span.peers or vxlan.is_there(network.bridge, span):
        return network
    return network.model_copy(update={"span": span.model_copy(update={"peers": ()})})


def _ip(nic: Nic) -> str:
    return nic.ip


def _ip6(nic: Nic) -> str:
    return nic.ip6


def _who_has(who: Callable[[str, Collection[str], float], dict[str, list[str]]], link: str, addresses: Mapping[str, str]) -> dict[str, str]:
    """The first that answers for each, by what stands for it; one link that cannot be asked keeps no other from being asked."""
    try:
        return {addresses[each]: macs[0] for each, macs in who(link, addresses, _ANSWER_S).items()} if addresses else {}
    except Failed as e:
        _log.warning("nobody could be asked who has addresses", link=link, why=e.why)
        return {}


def _tried(troubles: list[Trouble], act: Callable[[], None]) -> None:
    try:
        act()
    except Trouble as e:
        troubles.append(e)


def make(settings: Settings) -> LinuxEdge:
    """The driver of the cluster's networks, remembering below the role's state folder."""
    network = settings.network
    return LinuxEdge(settings.host.state / "edge", network.bridge, network.uplink, rules_for(network, Role.CC), network.outside)
