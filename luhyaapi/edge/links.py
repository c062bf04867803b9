"""The links of the way from a guest to the outside, each looked at on the host that has it and never repaired; and the walk along them."""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from luhyaapi import subnets
from luhyaapi.contracts.specs import LinkFacts, Nic, SegmentSpan
from luhyaapi.contracts.vocabulary import LinkState, Role
from luhyaapi.edge import arp, discovery, vxlan
from luhyaapi.edge.connections import is_full
from luhyaapi.edge.dnsmasq import DnsmasqNetwork
from luhyaapi.edge.plan import Forward, RulesPlan
from luhyaapi.errors import Failed, Trouble
from luhyaapi.process import run

_S = 10.0
_HEALS = "Its host heals this by itself within a minute; when it comes again, see its log."
There = Mapping[str, Mapping[str, Any]]
"""The links of a host by name, as the kernel shows them."""
Check = Callable[[], LinkFacts]

WAY = (
    (Role.CC, "cluster"), (Role.CC, "place"), (Role.NC, "node"), (Role.NC, "guest"), (Role.NC, "tap"), (Role.NC, "bridge"), (Role.NC, "gateway"),
    (Role.NC, "guards"), (Role.NC, "dhcp"), (Role.NC, "wire"), (Role.NC, "span"), (Role.CC, "bridge"), (Role.CC, "gateway"), (Role.CC, "guards"),
    (Role.CC, "wire"), (Role.CC, "span"), (Role.CC, "dhcp"), (Role.NC, "address"), (Role.NC, "answer"), (Role.NC, "connections"),
    (Role.NC, "uplink"), (Role.NC, "route"), (Role.CC, "address"), (Role.CC, "answer"), (Role.CC, "connections"), (Role.CC, "forwards"),
    (Role.CC, "elastic"), (Role.CC, "uplink"), (Role.CC, "route"), (Role.CC, "out"),
)
"""Every link by the host that has it. A guest answers only what the links before it let it have, so what serves it comes first."""
_RANK = {each: n for n, each in enumerate(WAY)}


def walk(found: Iterable[tuple[Role, LinkFacts]]) -> list[tuple[Role, LinkFacts]]:
    """What both hosts found, card by card, from the guest to the outside; what concerns all cards comes with the first."""
    listed = list(found)
    cards = list(dict.fromkeys(facts.card for _, facts in listed if facts.card))
    place = {card: n for n, card in enumerate(["", *cards])} if len(cards) > 1 else {}
    return sorted(listed, key=lambda each: (max(place.get(each[1].card, 0), 1), _RANK.get((each[0], each[1].link), len(WAY))))


def first_broken(walked: Iterable[tuple[Role, LinkFacts]]) -> tuple[Role, LinkFacts] | None:
    """Where the way ends; None: nowhere."""
    return next((each for each in walked if each[1].state is LinkState.BROKEN), None)


def ok(link: str, what: str, why: str = "") -> LinkFacts:
    """A link that is in order."""
    return LinkFacts(link=link, state=LinkState.OK, what=what, why=why)


def broken(link: str, what: str, why: str, hint: str) -> LinkFacts:
    """A link where the way ends."""
    return LinkFacts(link=link, state=LinkState.BROKEN, what=what, why=why, hint=hint)


def skipped(link: str, what: str, why: str = "") -> LinkFacts:
    """A link that this way does not need, or that says nothing now."""
    return LinkFacts(link=link, state=LinkState.SKIPPED, what=what, why=why)


def seen(card: str, checks: Iterable[tuple[str, Check]]) -> tuple[LinkFacts, ...]:
    """All of them for one card; one that cannot be looked at is unknown, and keeps no other from being looked at."""
    return tuple(_seen(link, check).model_copy(update={"card": card}) for link, check in checks)


def _seen(link: str, check: Check) -> LinkFacts:
    try:
        return check()
    except Trouble as e:
        return unseen(link, e)


def unseen(link: str, error: Trouble) -> LinkFacts:
    """A link that could not be looked at."""
    return LinkFacts(link=link, state=LinkState.UNKNOWN, what=error.what, why=error.why, hint=error.hint)


def look(namespace: str = "") -> There:
    """All links of this host. ``namespace`` names a network namespace (``ip netns``); empty is our own. Raises Failed(network)."""
    words = ["ip", *(["-n", namespace] if namespace else []), "-json", "-details", "address", "show"]
    done = run(words, timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The links of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    return {each["ifname"]: each for each in json.loads(done.text or "[]") if each}


def tap(there: There, name: str, wanted: str) -> LinkFacts:
    """A guest's tap: there, up, with its cable, in that bridge."""
    link = there.get(name)
    if link is None:
        return broken("tap", "The guest's tap is not there", f"its node has no link {name}", "Reboot the instance: its tap is made as it starts.")
    if "UP" not in link["flags"]:
        return broken("tap", "The guest's tap is down", f"somebody switched {name} off", f"On its node: ip link set {name} up")
    if "NO-CARRIER" in link["flags"]:
        return broken("tap", "The guest's card has no cable", f"nobody is at the other end of {name}", "Reboot the instance.")
    # a bridge that is not there is the next link's to say
    if link.get("master") != wanted and wanted in there:
        is_in = link.get("master")
        where = f"the tap {name} is in {is_in}, not in {wanted}" if is_in else f"the tap {name} is in no bridge, and belongs into {wanted}"
        return broken("tap", "The guest's tap is not in the bridge of its network", where, f"On its node: ip link set {name} master {wanted}")
    return ok("tap", "The guest's tap is in the bridge of its network", name)


def bridge(there: There, name: str) -> LinkFacts:
    """A bridge: there and up."""
    link = there.get(name)
    if link is None:
        return broken("bridge", "The bridge of the network is not there", f"this host has no link {name}", _HEALS)
    if link.get("linkinfo", {}).get("info_kind") != "bridge":
        return broken("bridge", "The bridge of the network is none", f"another link is called {name}", "Choose another name in network.bridge.")
    if "UP" not in link["flags"]:
        return broken("bridge", "The bridge of the network is down", f"somebody switched {name} off", f"On this host: ip link set {name} up")
    return ok("bridge", "The bridge of the network is up", name)


def gateways(there: There, name: str, address: str, subnet: str, subnet6: str = "") -> list[tuple[str, Check]]:
    """The gateway's addresses on its bridge: that of IPv4, and of IPv6 if the network has it."""
    wanted = [(address, subnet), *([(subnets.gateway6_of(subnet6), subnet6)] if subnet6 else [])]
    return [("gateway", functools.partial(gateway, there, name, *each)) for each in wanted]


def gateway(there: There, name: str, address: str, subnet: str) -> LinkFacts:
    """One address of the gateway on its bridge."""
    wanted = (address, ipaddress.ip_network(subnet).prefixlen)
    has = [(each.get("local"), each.get("prefixlen")) for each in there.get(name, {}).get("addr_info", ())]
    if wanted not in has:
        why = f"{name} lacks {wanted[0]}/{wanted[1]}, by which guests leave their network"
        return broken("gateway", "The gateway's address is not there", why, _HEALS)
    return ok("gateway", "The gateway's address is there", f"{wanted[0]}/{wanted[1]}")


def wire(there: There, name: str, wanted: str) -> LinkFacts:
    """The card by which a bridge reaches the other hosts of its network."""
    link = there.get(name)
    if link is None:
        return broken("wire", "The card of the network is not there", f"this host has no link {name}", "Name another card in the settings of this host.")
    if "UP" not in link["flags"]:
        return broken("wire", "The card of the network is down", f"somebody switched {name} off", f"On this host: ip link set {name} up")
    if "NO-CARRIER" in link["flags"]:
        return broken("wire", "The card of the network has no cable", f"nobody is at the other end of {name}", "Look at its cable and at the switch.")
    if link.get("master") != wanted:
        return broken("wire", "The card of the network is not in its bridge", f"the card {name} belongs into {wanted}",
                      f"On this host: ip link set {name} master {wanted}")
    return ok("wire", "The card of the network is in its bridge", name)


def guards(wanted: RulesPlan, found: RulesPlan | None) -> LinkFacts:
    """The packet rules: exactly the plan. Uplinks are not compared, for links of their own tell of them."""
    if found is None:
        why = "they were flushed or changed by another program, or were never made"
        return broken("guards", "The packet rules are not in force", why, _HEALS)
    if found.model_copy(update={"uplinks": ()}) != wanted.model_copy(update={"uplinks": ()}):
        return broken("guards", "The packet rules are older than what is wanted", "the last change has not arrived there", _HEALS)
    return ok("guards", "The packet rules are in force")


def dhcp(server: DnsmasqNetwork, mac: str, address: str) -> LinkFacts:
    """The DHCP server: runs, and knows the card."""
    known = server.knows(mac, address)
    if known is None:
        return broken("dhcp", "The DHCP server does not run", "guests that start now get no address", _HEALS)
    if not known:
        return broken("dhcp", "The DHCP server does not know the card", f"it has no {address} for {mac}", _HEALS)
    return ok("dhcp", "The DHCP server knows the card", f"{address}, {mac}")


def span(name: str, wanted: SegmentSpan | None, namespace: str = "") -> LinkFacts:
    """The VXLAN link to the other hosts, and that it sends to each of them."""
    if wanted is None or not wanted.peers:
        return skipped("span", "The network is on this host alone")
    if why := vxlan.fault(name, wanted, namespace):
        return broken("span", "The network does not reach its other hosts", why, _HEALS)
    return ok("span", "The network reaches its other hosts", ", ".join(wanted.peers))


def answers(name: str, nic: Nic, *, far: bool = False) -> list[tuple[str, Check]]:
    """Who answers for the guest's addresses on that bridge: nobody else, and the guest. For that of IPv4 the wire is asked once, by the first of the two.

    ``far``: the guest is on another host.
    """
    asked = functools.cache(lambda: arp.who_has(name, (nic.ip,)).get(nic.ip, []))
    return [
        ("address", lambda: _alone(name, nic.ip, nic.mac, asked())), ("answer", lambda: _answer(name, nic.ip, nic.mac, asked(), far=far)),
        *([("answer", lambda: answer6(name, nic.ip6, nic.mac))] if nic.ip6 else []),
    ]


def _alone(name: str, address: str, mac: str, there: Sequence[str]) -> LinkFacts:
    others = [each for each in there if each != mac]
    if others:
        why = f"{', '.join(others)} on {name} {'answers' if len(others) == 1 else 'answer'} for {address}, which belongs to {mac}"
        return broken("address", "Somebody else has the guest's address", why, "Find that machine by its MAC, and give it another address.")
    return ok("address", "Nobody else has the guest's address", address)


def _answer(name: str, address: str, mac: str, there: Sequence[str], *, far: bool) -> LinkFacts:
    if mac in there:
        return ok("answer", "The guest answers", f"{address}, {mac}")
    if far:
        return broken("answer", "The guest does not answer its cluster", f"nobody answers for {address} at {mac} on {name}",
                      "When it answers its own node, the way between the hosts is cut: look at the cable, and let UDP port 4789 pass.")
    return broken("answer", "The guest does not answer", f"nobody answers for {address} at {mac} on {name}",
                  "Look at its screen: its card may be off, have no address or another one; have it ask for its address again.")


def answer6(name: str, address: str, mac: str) -> LinkFacts:
    """The guest, by IPv6. Silence says less than by ARP: many a guest has IPv6 switched off, or no DHCPv6 client."""
    there = discovery.who_has(name, (address,)).get(address, [])
    if others := [each for each in there if each != mac]:
        why = f"{', '.join(others)} on {name} {'answers' if len(others) == 1 else 'answer'} for {address}, which belongs to {mac}"
        return broken("answer", "Somebody else has the guest's address", why, "Find that machine by its MAC, and give it another address.")
    if not there:
        return LinkFacts(link="answer", state=LinkState.UNKNOWN, what="The guest does not answer by IPv6", why=f"nobody answers for {address} on {name}",
                         hint="It may have IPv6 switched off, or no DHCPv6 client, which asks for the address.")
    return ok("answer", "The guest answers by IPv6", f"{address}, {mac}")


def connections(count: int, most: int) -> LinkFacts:
    """The kernel's table of connections, with how many there are and can be."""
    if is_full(count, most):
        return broken("connections", "The table of connections is full", f"{count} of {most}: this host drops what is new until others end",
                      f"Find who opens so many (conntrack -L), or have more: sysctl net.netfilter.nf_conntrack_max={2 * most}")
    return ok("connections", "There is room for new connections", f"at most {most}")


def uplinks(there: There, names: Collection[str]) -> LinkFacts:
    """The cards behind which the outside lies."""
    if not names:
        return skipped("uplink", "No card leads outside")
    for name in sorted(names):
        link = there.get(name)
        if link is None:
            return broken("uplink", "The card to the outside is not there", f"this host has no link {name}", "Name another card in network.outside.")
        if "UP" not in link["flags"]:
            return broken("uplink", "The card to the outside is down", f"somebody switched {name} off", f"On this host: ip link set {name} up")
        if "NO-CARRIER" in link["flags"]:
            return broken("uplink", "The card to the outside has no cable", f"nobody is at the other end of {name}", "Look at its cable and at the switch.")
    return ok("uplink", "The card to the outside is up", ", ".join(sorted(names)))


def route(outside: Sequence[str]) -> LinkFacts:
    """The default route of this host."""
    if not outside:
        return broken("route", "This host has no default route", "nothing of it reaches the outside, and nothing of its guests",
                      "Give it a default route: ip route add default via ADDRESS")
    return ok("route", "This host has a default route", ", ".join(outside))


def forwards(wanted: Collection[Forward], found: RulesPlan | None) -> LinkFacts:
    """The ports of the cluster that lead to the guest."""
    if not wanted:
        return skipped("forwards", "No port of the cluster leads to it")
    ports = [f"{each.protocol} {each.port}" for each in wanted]
    missing = [port for each, port in zip(wanted, ports, strict=True) if found is None or each not in found.forwards]
    if missing:
        return broken("forwards", "Ports of the cluster do not lead to it", f"the packet rules lack {', '.join(missing)}", _HEALS)
    return ok("forwards", "Its ports of the cluster lead to it", ", ".join(ports))


def elastics(wanted: Collection[str], found: Collection[str]) -> LinkFacts:
    """The public addresses that lead to the guest, on the cluster's host."""
    if missing := sorted(set(wanted) - set(found)):
        why = f"{', '.join(missing)} is on no card of this host: it was taken away, or somebody else has it"
        return broken("elastic", "Its public address is not there", why, _HEALS)
    return ok("elastic", "Its public address is there", ", ".join(sorted(wanted)))


def out(*, is_open: bool) -> LinkFacts:
    """Whether guests of the network reach what lies outside."""
    if is_open:
        return ok("out", "The network has a way out")
    return skipped("out", "The network has no way out", "it was made so; only guests with a public address reach the outside")
