"""The rules of a host against real packets: guests, a neighbour host and a client outside, in namespaces the test makes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from luhyaapi.contracts.specs import Allow
from luhyaapi.contracts.vocabulary import Allowed, Protocol
from luhyaapi.edge import RULES
from luhyaapi.edge.base import RulesDriver
from luhyaapi.edge.plan import (
    Alias,
    Card,
    Forward,
    RulesPlan,
    Segment,
    link_local,
)
from tests.support import edge_bed
from tests.support.edge_bed import (
    CLIENT,
    FAR,
    HOST,
    IPS,
    MACS,
    OUT,
    PUBLIC,
    A,
    B,
    Bed,
)

pytestmark = pytest.mark.live
DRIVERS = sorted(set(RULES) - {"fake"})
SSH = 22
WEB = Forward(protocol=Protocol.TCP, address=PUBLIC, port=8080, to=IPS[A], to_port=80)


def card(guest: str, *allow: Allow, segment: str = "desk") -> Card:
    return Card(tap=edge_bed.TAPS[guest], mac=MACS[guest], addresses=(IPS[guest], edge_bed.IP6S[guest]), segment=segment, allow=allow)


def tcp(port: int, source: str = "0.0.0.0/0") -> Allow:
    return Allow(protocol=Allowed.TCP, first_port=port, last_port=port, source=source)


def plan(*forwards: Forward, cards: tuple[Card, ...] | None = None, aliases: tuple[Alias, ...] = (), **segment: object) -> RulesPlan:
    desk = {"name": "desk", "bridge": "br0", "subnets": (edge_bed.SUBNET, edge_bed.SUBNET6), "gateway": True, **segment}
    return RulesPlan(name="test", uplinks=("wan0",), segments=(Segment(**desk),), forwards=forwards, aliases=aliases,
                     cards=(card(A), card(B)) if cards is None else cards)


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    try:
        made.up()
        with made.inside(HOST):
            yield made
    finally:
        made.down()


@pytest.fixture(params=DRIVERS)
def rules(request: pytest.FixtureRequest, bed: Bed) -> Iterator[RulesDriver]:
    driver = RULES[request.param]("test")
    yield driver
    driver.down()
    driver.close()


def test_a_forward_leads_to_its_guest_and_nothing_else_does(rules: RulesDriver, bed: Bed) -> None:
    web, ssh = bed.listen(A, 80), bed.listen(A, SSH)
    rules.apply(plan(WEB))
    assert bed.seen(web, OUT, PUBLIC, 8080) == CLIENT
    assert bed.is_closed(OUT, IPS[A], SSH)
    assert bed.is_closed(OUT, IPS[A], 80)
    rules.apply(plan(WEB, cards=(card(A, tcp(SSH)), card(B))))
    assert bed.seen(ssh, OUT, IPS[A], SSH) == CLIENT


def test_a_forward_is_for_its_sources_only(rules: RulesDriver, bed: Bed) -> None:
    web = bed.listen(A, 80)
    rules.apply(plan(WEB.model_copy(update={"sources": (f"{CLIENT}/32", "10.0.0.0/8", "10.1.0.0/16")})))
    assert bed.seen(web, OUT, PUBLIC, 8080) == CLIENT
    assert bed.is_closed(OUT, PUBLIC, 8080, edge_bed.OTHER_CLIENT)
    rules.apply(plan(WEB.model_copy(update={"sources": (f"{edge_bed.OTHER_CLIENT}/32",)})))
    assert bed.seen(web, OUT, PUBLIC, 8080, edge_bed.OTHER_CLIENT) == edge_bed.OTHER_CLIENT
    assert bed.is_closed(OUT, PUBLIC, 8080)


def test_a_forward_is_reached_from_inside_and_from_its_host(rules: RulesDriver, bed: Bed) -> None:
    web = bed.listen(A, 80)
    for talk in (True, False):
        rules.apply(plan(WEB, talk=talk))
        assert bed.seen(web, B, PUBLIC, 8080) == edge_bed.GATEWAY
        assert bed.seen(web, A, PUBLIC, 8080) == edge_bed.GATEWAY
    assert bed.seen(web, HOST, PUBLIC, 8080) == PUBLIC


def test_answers_come_back_by_us_from_where_we_are_not_the_gateway(rules: RulesDriver, bed: Bed) -> None:
    web, node = bed.listen(A, 80), bed.listen(OUT, 80)
    rules.apply(plan(WEB, Forward(protocol=Protocol.TCP, address=PUBLIC, port=8090, to=CLIENT, to_port=80), gateway=False))
    assert bed.seen(web, OUT, PUBLIC, 8080) == edge_bed.GATEWAY
    assert bed.seen(node, OUT, PUBLIC, 8090, edge_bed.OTHER_CLIENT) == PUBLIC
    assert bed.seen(node, A, PUBLIC, 8090) == PUBLIC


def test_a_host_behind_an_inner_link_is_reached_by_its_forward_alone(rules: RulesDriver, bed: Bed) -> None:
    """The link of the cable is taken out of the bridge: behind it is now a host that has guests of its own."""
    bed.ip(HOST, "link", "set", "wire", "nomaster")
    bed.ip(HOST, "address", "add", "10.99.0.1/24", "dev", "wire")
    bed.ip(FAR, "address", "add", "10.99.0.9/24", "dev", "eth0")
    bed.ip(FAR, "route", "add", "default", "via", "10.99.0.1")
    bed.ip(OUT, "route", "add", "10.99.0.0/24", "via", PUBLIC)
    web = bed.listen(FAR, 20000)
    bed.listen(OUT, 80)
    there = Forward(protocol=Protocol.TCP, address=PUBLIC, port=20000, to="10.99.0.9", to_port=20000)
    rules.apply(plan(there).model_copy(update={"inner": ("wire",)}))
    assert bed.seen(web, OUT, PUBLIC, 20000) == "10.99.0.1"
    assert bed.is_closed(OUT, "10.99.0.9", 20000)
    assert bed.is_closed(FAR, CLIENT, 80)
    rules.apply(plan())
    assert bed.is_closed(OUT, PUBLIC, 20000)


def test_udp_is_forwarded_and_answered(rules: RulesDriver, bed: Bed) -> None:
    rules.apply(plan(Forward(protocol=Protocol.UDP, address=PUBLIC, port=5353, to=IPS[A], to_port=53)))
    with bed.inside(A):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with bed.inside(OUT):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        for each in (server, client):
            each.settimeout(edge_bed.PATIENCE_S)
        server.bind(("", 53))
        client.sendto(b"ask", (PUBLIC, 5353))
        _data, peer = server.recvfrom(10)
        server.sendto(b"say", peer)
        assert client.recvfrom(10) == (b"say", (PUBLIC, 5353))


def test_an_elastic_address_is_one_guests_both_ways(rules: RulesDriver, bed: Bed) -> None:
    web, out = bed.listen(A, 80), bed.listen(OUT, 80)
    elastic = (Alias(address=edge_bed.ELASTIC, to=IPS[A]),)
    rules.apply(plan(aliases=elastic, cards=(card(A, tcp(80)), card(B)), way_out=False))
    assert bed.seen(web, OUT, edge_bed.ELASTIC, 80) == CLIENT
    assert bed.seen(out, A, CLIENT, 80) == edge_bed.ELASTIC
    assert bed.seen(web, B, edge_bed.ELASTIC, 80) == edge_bed.GATEWAY
    rules.apply(plan(aliases=elastic))
    assert bed.is_closed(OUT, edge_bed.ELASTIC, 80)


def test_the_way_out_bears_the_hosts_address_or_is_none(rules: RulesDriver, bed: Bed) -> None:
    out = bed.listen(OUT, 80)
    rules.apply(plan())
    assert bed.seen(out, A, CLIENT, 80) == PUBLIC
    rules.apply(plan(way_out=False))
    assert bed.is_closed(A, CLIENT, 80)


def test_ipv6_is_judged_alike(rules: RulesDriver, bed: Bed) -> None:
    web, out = bed.listen(A, 80, edge_bed.IP6S[A]), bed.listen(OUT, 80, edge_bed.CLIENT6)
    rules.apply(plan())
    assert bed.seen(out, A, edge_bed.CLIENT6, 80) == edge_bed.PUBLIC6
    assert bed.is_closed(OUT, edge_bed.IP6S[A], 80)
    rules.apply(plan(cards=(card(A, tcp(80, "fd00:92::/64")),), way_out=False))
    assert bed.seen(web, OUT, edge_bed.IP6S[A], 80) == edge_bed.CLIENT6
    assert bed.is_closed(A, edge_bed.CLIENT6, 80)
    rules.apply(plan(gateway=False))
    assert bed.is_closed(FAR, edge_bed.IP6S[A], 80, edge_bed.BEYOND6)
    assert bed.seen(web, FAR, edge_bed.IP6S[A], 80) == edge_bed.IP6S[FAR]
    rules.apply(plan(gateway=False, talk=False, cards=(card(A, tcp(80, "::/0")),)))
    assert bed.seen(web, FAR, edge_bed.IP6S[A], 80, edge_bed.BEYOND6) == edge_bed.BEYOND6
    assert bed.is_closed(FAR, edge_bed.IP6S[A], 80)


def test_ping_is_let_in_or_not(rules: RulesDriver, bed: Bed) -> None:
    ping = ("busybox", "ping", "-c", "1", "-W", "1", edge_bed.ELASTIC)
    elastic = (Alias(address=edge_bed.ELASTIC, to=IPS[A]),)
    rules.apply(plan(aliases=elastic, cards=(card(A, Allow(protocol=Allowed.ICMP, source=f"{CLIENT}/32"), tcp(80)),)))
    assert bed.run(OUT, *ping, check=False).code == 0
    assert bed.run(OUT, *ping, "-I", edge_bed.OTHER_CLIENT, check=False).code == 1
    rules.apply(plan(aliases=elastic, cards=(card(A, Allow(protocol=Allowed.ANY, source=f"{edge_bed.OTHER_CLIENT}/32")),)))
    assert bed.run(OUT, *ping, "-I", edge_bed.OTHER_CLIENT, check=False).code == 0


def test_a_neighbour_host_on_the_bridge_is_judged_too(rules: RulesDriver, bed: Bed) -> None:
    """What comes bridged, from behind a gateway elsewhere."""
    web, beyond = bed.listen(A, 80), bed.listen(FAR, 80)
    rules.apply(plan(gateway=False))
    assert bed.is_closed(FAR, IPS[A], 80, edge_bed.BEYOND)
    assert bed.seen(beyond, A, edge_bed.BEYOND, 80) == IPS[A]
    assert bed.seen(web, FAR, IPS[A], 80) == IPS[FAR]
    for gateway in (False, True):
        rules.apply(plan(talk=False, gateway=gateway))
        assert bed.is_closed(FAR, IPS[A], 80)
    rules.apply(plan(gateway=False, talk=False, routers=(IPS[FAR],), cards=(card(A, tcp(80)), card(B))))
    assert bed.seen(web, FAR, IPS[A], 80, edge_bed.BEYOND) == edge_bed.BEYOND
    assert bed.seen(web, FAR, IPS[A], 80) == IPS[FAR]


def test_guests_reach_each_other_when_their_segment_says_so(rules: RulesDriver, bed: Bed) -> None:
    web, web6 = bed.listen(A, 80), bed.listen(A, 80, edge_bed.IP6S[A])
    rules.apply(plan())
    assert bed.seen(web, B, IPS[A], 80) == IPS[B]
    assert bed.seen(web6, B, edge_bed.IP6S[A], 80) == edge_bed.IP6S[B]
    rules.apply(plan(talk=False))
    assert bed.is_closed(B, IPS[A], 80)
    assert bed.is_closed(B, edge_bed.IP6S[A], 80)


def test_behind_a_gateway_is_closed_what_no_card_allows(rules: RulesDriver, bed: Bed) -> None:
    web, near = bed.listen(A, 80), bed.listen(B, 80)
    elsewhere = Card(tap="", mac=MACS[A], addresses=(IPS[A],), segment="desk", allow=(tcp(80),))
    rules.apply(plan(cards=()))
    assert bed.is_closed(OUT, IPS[A], 80)
    rules.apply(plan(cards=(elsewhere,)))
    assert bed.seen(web, OUT, IPS[A], 80) == CLIENT
    assert bed.is_closed(OUT, IPS[B], 80)
    assert bed.seen(near, A, IPS[B], 80) == IPS[A]


def test_guests_reach_no_door_of_their_host_and_nothing_behind_it_but_the_outside(rules: RulesDriver, bed: Bed) -> None:
    names, door, out, wire = bed.listen(HOST, 53), bed.listen(HOST, SSH), bed.listen(OUT, 80), bed.listen(FAR, 80)
    rules.apply(plan())
    assert bed.seen(names, A, edge_bed.GATEWAY, 53) == IPS[A]
    assert bed.is_closed(OUT, edge_bed.GATEWAY, 53)
    for address in (edge_bed.GATEWAY, PUBLIC):
        assert bed.is_closed(A, address, SSH)
    assert bed.is_closed(A, edge_bed.GATEWAY6, SSH)
    assert bed.seen(door, OUT, PUBLIC, SSH) == CLIENT
    assert bed.seen(out, A, CLIENT, 80) == PUBLIC
    assert bed.seen(wire, HOST, IPS[FAR], 80) == edge_bed.GATEWAY
    rules.apply(plan().model_copy(update={"uplinks": ()}))
    assert bed.is_closed(A, CLIENT, 80)
    assert bed.is_closed(OUT, edge_bed.GATEWAY, 53), "by whatever link it is asked"
    assert bed.seen(names, A, edge_bed.GATEWAY, 53) == IPS[A]
    assert bed.seen(names, HOST, edge_bed.GATEWAY, 53) == edge_bed.GATEWAY


def test_of_ipv6_too_guests_reach_their_gateways_names_and_ping_and_no_door(rules: RulesDriver, bed: Bed) -> None:
    names, out = bed.listen(HOST, 53, edge_bed.GATEWAY6), bed.listen(OUT, 80, edge_bed.CLIENT6)
    for address in (edge_bed.GATEWAY6, edge_bed.PUBLIC6):
        bed.listen(HOST, SSH, address)
    rules.apply(plan())
    assert bed.seen(names, A, edge_bed.GATEWAY6, 53) == edge_bed.IP6S[A]
    for address in (edge_bed.GATEWAY6, edge_bed.PUBLIC6):
        assert bed.is_closed(A, address, SSH)
    assert bed.is_closed(OUT, edge_bed.GATEWAY6, 53), "a gateway is nobody else's to ask"
    assert bed.run(A, "busybox", "ping", "-c", "1", "-W", "1", edge_bed.GATEWAY6, check=False).code == 0
    assert bed.seen(out, A, edge_bed.CLIENT6, 80) == edge_bed.PUBLIC6


def test_a_router_elsewhere_is_all_that_fenced_guests_reach_by_ipv6(rules: RulesDriver, bed: Bed) -> None:
    web, wire = bed.listen(A, 80, edge_bed.IP6S[A]), bed.listen(FAR, 80, edge_bed.IP6S[FAR])
    far = (IPS[FAR], edge_bed.IP6S[FAR], link_local(MACS[FAR]))
    rules.apply(plan(gateway=False, judged=True, routers=far))
    assert bed.seen(web, B, edge_bed.IP6S[A], 80) == edge_bed.IP6S[B]
    rules.apply(plan(gateway=False, judged=True, routers=far, talk=False))
    assert bed.is_closed(B, edge_bed.IP6S[A], 80)
    assert bed.seen(web, FAR, edge_bed.IP6S[A], 80) == edge_bed.IP6S[FAR]
    assert bed.seen(wire, A, edge_bed.IP6S[FAR], 80) == edge_bed.IP6S[A]
    assert bed.seen(web, FAR, edge_bed.IP6S[A], 80, edge_bed.BEYOND6) == edge_bed.BEYOND6, "it judged what comes from beyond"


def test_a_router_elsewhere_judges_and_guests_of_a_fenced_segment_reach_only_it(rules: RulesDriver, bed: Bed) -> None:
    web, wire, door = bed.listen(A, 80), bed.listen(FAR, 80), bed.listen(HOST, SSH)
    rules.apply(plan(gateway=False, judged=True, routers=(IPS[FAR],)))
    assert bed.seen(web, B, IPS[A], 80) == IPS[B]
    assert bed.is_closed(A, PUBLIC, SSH)
    rules.apply(plan(gateway=False, judged=True, routers=(IPS[FAR],), talk=False))
    assert bed.is_closed(B, IPS[A], 80)
    assert bed.seen(web, FAR, IPS[A], 80) == IPS[FAR]
    assert bed.seen(wire, A, IPS[FAR], 80) == IPS[A]
    assert bed.is_closed(A, PUBLIC, SSH)
    assert bed.seen(door, OUT, PUBLIC, SSH) == CLIENT


def test_nobody_outside_pretends_to_be_inside(rules: RulesDriver, bed: Bed) -> None:
    rules.apply(plan(cards=(card(A, Allow(protocol=Allowed.UDP, first_port=7, last_port=7)), card(B))))
    outside, guest = bed.tap(OUT), bed.tap(A)
    forged, honest = (edge_bed.ipv4(source, IPS[A], edge_bed.udp(1, 7, b"?" * 20)) for source in ("10.77.0.99", CLIENT))
    bed.run(OUT, "busybox", "ping", "-c", "1", "-w", "2", PUBLIC)
    for packet in (forged, honest):
        outside.send(edge_bed.ether(MACS[FAR], packet, to=edge_bed.WAN_MAC))
    assert [packet[12:16] for packet in edge_bed.packets(guest, 0x0800, honest[12:16])] == [honest[12:16]]


def test_other_networks_of_the_host_stay_shut_unless_it_is_a_router(rules: RulesDriver, bed: Bed) -> None:
    bed.ip(B, "link", "add", "lan", "type", "veth", "peer", "name", "lan0", "netns", bed.names[HOST])
    for where, link, address in ((B, "lan", "10.99.0.2/24"), (HOST, "lan0", "10.99.0.1/24")):
        bed.ip(where, "address", "add", address, "dev", link)
        bed.ip(where, "link", "set", link, "up")
    bed.ip(B, "route", "add", "192.0.2.0/24", "via", "10.99.0.1")
    bed.ip(OUT, "route", "add", "10.99.0.0/24", "via", PUBLIC)
    office = bed.listen(B, 80)
    rules.apply(plan(Forward(protocol=Protocol.TCP, address=PUBLIC, port=8090, to="10.99.0.2", to_port=80)))
    bed.sysctl(HOST, "ipv4/conf/lan0/forwarding", "1")
    assert bed.is_closed(OUT, "10.99.0.2", 80)
    assert bed.seen(office, OUT, PUBLIC, 8090) == "10.99.0.1"
    bed.sysctl(HOST, "ipv4/conf/all/forwarding", "1")
    rules.apply(plan())
    assert bed.seen(office, OUT, "10.99.0.2", 80) == CLIENT


def test_connections_outlive_every_change_that_allows_them(rules: RulesDriver, bed: Bed) -> None:
    web = bed.listen(A, 80)
    other = Forward(protocol=Protocol.TCP, address=PUBLIC, port=8081, to=IPS[B], to_port=80)
    rules.apply(plan(WEB))
    pair = bed.talk(OUT, PUBLIC, 8080, web)
    out = bed.talk(A, CLIENT, 80, bed.listen(OUT, 80))
    rules.exchange((), (other,))
    rules.exchange((other,), ())
    rules.apply(plan(other, WEB))
    assert edge_bed.alive(pair)
    driver = type(rules)("test")  # type: ignore[call-arg]
    driver.apply(plan(WEB))
    assert edge_bed.alive(pair)
    assert edge_bed.alive(out)
    driver.close()
    rules.exchange((WEB,), ()) if rules.found() else rules.apply(plan())
    assert bed.is_closed(OUT, PUBLIC, 8080)


def test_a_permission_taken_back_ends_what_it_let_in(rules: RulesDriver, bed: Bed) -> None:
    web = bed.listen(A, 80)
    rules.apply(plan(cards=(card(A, tcp(80)), card(B))))
    pair = bed.talk(OUT, IPS[A], 80, web)
    assert edge_bed.alive(pair)
    rules.apply(plan())
    pair[0].settimeout(edge_bed.SILENCE_S)
    pair[1].settimeout(edge_bed.SILENCE_S)
    pair[0].sendall(b"ping")
    with pytest.raises(TimeoutError):
        pair[1].recv(4)


UNICAST = edge_bed.MACS[B]
HONEST = edge_bed.ether(MACS[A], edge_bed.ipv4(IPS[A], IPS[B], edge_bed.udp(1000, 9)), to=UNICAST)
LOCAL, ROUTER, ALL = link_local(MACS[A]), "fe80::1", "ff02::1"
ARP, IPV6 = 0x0806, 0x86DD


def ip6(packet: bytes) -> bytes:
    return edge_bed.ether(MACS[A], packet, IPV6, UNICAST)


def advertisement(target: str) -> bytes:
    body = struct.pack("!I", 0x20000000) + socket.inet_pton(socket.AF_INET6, target) + b"\2\1" + edge_bed.mac(MACS[A])
    return ip6(edge_bed.icmpv6(LOCAL, ALL, 136, body))


FORGED = {
    "another mac": edge_bed.ether(MACS[FAR], edge_bed.ipv4(IPS[A], IPS[B], edge_bed.udp(1000, 9)), to=UNICAST),
    "another address": edge_bed.ether(MACS[A], edge_bed.ipv4(IPS[FAR], IPS[B], edge_bed.udp(1000, 9)), to=UNICAST),
    "no address": edge_bed.ether(MACS[A], edge_bed.ipv4("0.0.0.0", IPS[B], edge_bed.udp(1000, 9)), to=UNICAST),
    "the gateway's arp": edge_bed.ether(MACS[A], edge_bed.arp(2, MACS[A], edge_bed.GATEWAY, IPS[B]), ARP),
    "arp for another mac": edge_bed.ether(MACS[A], edge_bed.arp(2, MACS[FAR], IPS[A], IPS[B]), ARP),
    "arp without an address": edge_bed.ether(MACS[A], edge_bed.arp(2, MACS[A], "0.0.0.0", IPS[B]), ARP),
    "another ipv6 address": ip6(edge_bed.ipv6(edge_bed.IP6S[B], edge_bed.IP6S[B], edge_bed.udp(1000, 9))),
    "another link-local address": ip6(edge_bed.ipv6(ROUTER, edge_bed.IP6S[B], edge_bed.udp(1000, 9))),
    "a router": ip6(edge_bed.icmpv6(LOCAL, ALL, 134, bytes(12))),
    "a redirection": ip6(edge_bed.icmpv6(LOCAL, ALL, 137, bytes(36))),
    "a dhcp server": edge_bed.ether(MACS[A], edge_bed.ipv4(IPS[A], "255.255.255.255", edge_bed.udp(67, 68))),
    "a dhcpv6 server": ip6(edge_bed.ipv6(LOCAL, ALL, edge_bed.udp(547, 546))),
    "a tagged frame": edge_bed.ether(MACS[A], struct.pack("!HH", 1, 0x0800) + edge_bed.ipv4(edge_bed.GATEWAY, IPS[B], edge_bed.udp(1000, 9)), 0x8100, UNICAST),
    "no ip at all": edge_bed.ether(MACS[A], bytes(60), 0x88CC),
}
LAWFUL = {
    "its address": HONEST[:-1],
    "its arp": edge_bed.ether(MACS[A], edge_bed.arp(1, MACS[A], IPS[A], IPS[B]), ARP),
    "a probe": edge_bed.ether(MACS[A], edge_bed.arp(1, MACS[A], "0.0.0.0", IPS[A]), ARP),
    "a dhcp client": edge_bed.ether(MACS[A], edge_bed.ipv4("0.0.0.0", "255.255.255.255", edge_bed.udp(68, 67))),
    "its ipv6 address": ip6(edge_bed.ipv6(edge_bed.IP6S[A], edge_bed.IP6S[B], edge_bed.udp(1000, 9))),
    "its link-local address": ip6(edge_bed.ipv6(LOCAL, edge_bed.IP6S[B], edge_bed.udp(1000, 9))),
    "a dhcpv6 client": ip6(edge_bed.ipv6(LOCAL, "ff02::1:2", edge_bed.udp(546, 547))),
    "its advertisement": advertisement(edge_bed.IP6S[A]),
    "a question for its address": ip6(edge_bed.icmpv6("::", ALL, 135, bytes(4) + socket.inet_pton(socket.AF_INET6, edge_bed.IP6S[A]))),
}


def test_a_tap_says_only_what_its_card_may(rules: RulesDriver, bed: Bed) -> None:
    bed.ip(A, "link", "set", "eth0", "arp", "off")
    sender, receiver = bed.tap(A), bed.tap(B)
    rules.apply(plan(gateway=False))
    assert edge_bed.arrive(list(FORGED.values()), sender, receiver, HONEST) == []
    for name, frame in LAWFUL.items():
        assert edge_bed.arrive([frame], sender, receiver, HONEST) == [frame], name
    rules.apply(plan(gateway=False, cards=()))
    for name, frame in FORGED.items():
        assert edge_bed.arrive([frame], sender, receiver, HONEST) == [frame], f"without rules {name} would come"


def test_only_nftables_looks_into_advertisements(bed: Bed) -> None:
    sender, receiver = bed.tap(A), bed.tap(B)
    for name, came in (("iptables", [advertisement(edge_bed.IP6S[B])]), ("nftables", [])):
        driver = RULES[name]("test")
        driver.apply(plan())
        assert edge_bed.arrive([advertisement(edge_bed.IP6S[B])], sender, receiver, HONEST) == came
        driver.down()
        driver.close()


HANDS = {
    "nftables": [
        ["nft", "flush", "ruleset"],
        ["nft", "delete", "table", "bridge", "educloud-test"],
        ["nft", "flush", "chain", "inet", "educloud-test", "judge"],
        ["nft", "delete", "element", "inet", "educloud-test", "forwards", "{ tcp . 192.0.2.1 . 8080 : 10.77.0.10 . 80 }"],
        ["nft", "add", "element", "inet", "educloud-test", "aliased", "{ 10.77.0.11 }"],
        ["nft", "insert", "rule", "inet", "educloud-test", "judge", "accept"],
    ],
    "iptables": [
        ["iptables", "-t", "nat", "-F"],
        ["iptables", "-D", "FORWARD", "-j", "edu.test.judge"],
        ["iptables", "-I", "edu.test.judge", "-j", "ACCEPT"],
        ["ebtables", "-t", "nat", "-F"],
    ],
}


@pytest.mark.parametrize(("name", "hand"), [(name, hand) for name, hands in HANDS.items() for hand in hands])
def test_what_was_done_by_hand_is_noticed_and_healed(bed: Bed, name: str, hand: list[str]) -> None:
    rules, wanted = RULES[name]("test"), plan(WEB)
    rules.apply(wanted)
    before = bed.dump()
    for heal in (lambda: rules.apply(wanted), lambda: rules.exchange((), ()) if name == "nftables" else rules.apply(wanted)):
        bed.run(HOST, *hand)
        heal()
        assert rules.found() == wanted
        bed.run(HOST, *hand)
        assert rules.found() is None
        rules.apply(wanted)
        assert (bed.dump(), rules.found()) == (before, wanted)
    rules.down()
    rules.close()


def test_a_bridge_made_anew_is_noticed_and_set_up(rules: RulesDriver, bed: Bed) -> None:
    wanted = plan(gateway=False, cards=())
    rules.apply(wanted)
    bed.ip(HOST, "link", "del", "br0")
    bed.bridge()
    assert rules.found() is None
    rules.apply(wanted)
    assert rules.found() == wanted


STRANGERS = (
    "iptables -A FORWARD -s 10.9.9.9", "iptables -t nat -A PREROUTING -s 10.9.9.9", "iptables -t mangle -A PREROUTING -s 10.9.9.9",
    "iptables -t nat -A OUTPUT -s 10.9.9.9", "iptables -t nat -A POSTROUTING -s 10.9.9.9", "ip6tables -A FORWARD -s fd00::9",
    "ip6tables -t nat -A POSTROUTING -s fd00::9", "ip6tables -t mangle -A PREROUTING -s fd00::9",
    "iptables -A INPUT -s 10.9.9.9", "ip6tables -A INPUT -s fd00::9",
    *(f"ebtables {chain} -s {MACS[FAR]} -j CONTINUE" for chain in ("-A FORWARD", "-A INPUT", "-A OUTPUT", "-t nat -A PREROUTING")),
)


def test_rules_of_others_stay_and_ours_leave_none(rules: RulesDriver, bed: Bed) -> None:
    bed.run(HOST, "nft", "table inet stranger { set s { type ipv4_addr; elements = { 10.0.0.1 }; }; chain c { ip saddr @s drop; }; }")
    bed.run(HOST, "nft", "table bridge stranger { chain c { type filter hook forward priority 0; policy accept; }; }")
    for words in STRANGERS:
        bed.run(HOST, *words.split())
    before = bed.dump()
    assert before.count("10.9.9.9") == 6
    elastic = (Alias(address=edge_bed.ELASTIC, to=IPS[A]),)
    for wanted in (plan(WEB, aliases=elastic), plan(gateway=False, talk=False), plan(WEB, cards=(card(A, tcp(80)),))):
        rules.apply(wanted)
        assert rules.found() == wanted
    rules.down()
    assert bed.dump() == before


def test_two_at_once_leave_the_rules_whole(rules: RulesDriver, bed: Bed) -> None:
    rules.apply(plan(WEB))
    others = [Forward(protocol=Protocol.TCP, address=PUBLIC, port=port, to=IPS[B], to_port=80) for port in range(9000, 9003)]

    def flip(forward: Forward) -> None:
        with bed.inside(HOST):
            rules.exchange((), (forward,))
            rules.exchange((forward,), ())
            rules.exchange((), (forward,))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(flip, others))
    bed.run(HOST, "nft", "add table ip stranger; delete table ip stranger")
    found = rules.found()
    assert found is not None
    assert set(found.forwards) == {WEB, *others}
