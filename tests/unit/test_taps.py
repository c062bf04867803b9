"""The edge of a node as a plan: a function of its guests and of its cluster's word."""

from __future__ import annotations

from luhyaapi.contracts.specs import Allow, Nic, NodeForward
from luhyaapi.contracts.vocabulary import Allowed, NetworkMode, Protocol
from luhyaapi.edge import plan as packets
from luhyaapi.edge.networks import check_network
from luhyaapi.edge.plan import RulesPlan
from nc.drivers import taps
from nc.drivers.base import Guest, NodeEdge, tap_name
from nc.drivers.taps import Here

A, B = "ins-0000000a", "ins-0000000b"
HERE = Here(("eth0",), ("192.0.2.7", "10.99.2.3"))
PING = Allow(protocol=Allowed.ICMP)


def nic(number: int, **over: object) -> Nic:
    fields = {"mac": f"02:00:0a:e7:00:{number:02x}", "ip": f"10.231.0.{number}", "subnet": "10.231.0.0/24", "gateway": "10.231.0.1"}
    return Nic.model_validate(fields | over)


def behind(number: int, **over: object) -> Nic:
    return nic(number, ip=f"10.9.0.{number}", subnet="10.9.0.0/24", gateway="10.9.0.1", segment=9, network="net-00000009", mode=NetworkMode.NODE, **over)


def edge(guests: dict[str, tuple[Nic, ...]], *forwards: NodeForward, **allow: tuple[Allow, ...]) -> NodeEdge:
    return NodeEdge({instance: Guest(f"PC {instance[-1]}", nics) for instance, nics in guests.items()}, forwards, allow)


def made(of: NodeEdge, here: Here = HERE) -> RulesPlan:
    plan = taps.plan("edubr0", of, here)
    packets.check(plan)
    return plan


def test_each_card_has_its_tap_and_each_network_its_segment() -> None:
    other = nic(9, ip="10.7.0.9", subnet="10.7.0.0/24", gateway="10.7.0.1", segment=7, isolated=True, network="net-00000007")
    plan = made(edge({A: (nic(5), other), B: (nic(6),)}, **{A: (PING,)}))
    assert {(card.tap, card.addresses, card.segment, card.allow) for card in plan.cards} == {
        (tap_name(A, nic(5).mac), ("10.231.0.5",), "n0", ()), (tap_name(A, other.mac), ("10.7.0.9",), "n7", ()),
        (tap_name(B, nic(6).mac), ("10.231.0.6",), "n0", ()),
    }, "what may reach them their router judges"
    assert [(s.bridge, s.routers, s.talk, s.judged) for s in plan.segments] == [
        ("edubr0", ("10.231.0.1",), True, True), ("edubr0-7", ("10.7.0.1",), False, True),
    ]


def test_of_a_network_behind_it_the_node_is_gateway_and_server() -> None:
    forward = NodeForward(instance=A, protocol=Protocol.TCP, port=20000, guest_port=22, sources=("10.0.0.0/8",))
    of = edge({A: (behind(5, way_out=False, isolated=True),), B: (behind(6), nic(7))}, forward, **{A: (PING,)})
    plan = made(of)
    assert [(s.bridge, s.gateway, s.judged, s.way_out, s.talk) for s in plan.segments if s.name == "n9"] == [("edubr0-9", True, False, False, False)]
    assert [(f.address, f.port, f.to, f.to_port, f.sources) for f in plan.forwards] == [
        (address, 20000, "10.9.0.5", 22, ("10.0.0.0/8",)) for address in ("192.0.2.7", "10.99.2.3")
    ]
    assert [card.allow for card in plan.cards] == [(PING,), (), ()]
    network, = taps.served("edubr0", of)
    check_network(network)
    assert (network.bridge, network.gateway) == ("edubr0-9", "10.9.0.1")
    assert [(each.instance, each.ip, each.hostname) for each in network.leases] == [(A, "10.9.0.5", "PC a"), (B, "10.9.0.6", "PC b")]


def test_networks_of_the_campus_share_a_bridge_and_are_judged_here() -> None:
    one = nic(5, mode=NetworkMode.CAMPUS, segment=3, network="net-00000003", gateway="10.231.0.254")
    two = nic(6, ip="10.8.0.6", subnet="10.8.0.0/24", gateway="10.8.0.254", mode=NetworkMode.CAMPUS, segment=4, network="net-00000004", isolated=True)
    plan = made(edge({A: (one,), B: (two,)}, **{B: (PING,)}))
    segment, = plan.segments
    assert (segment.bridge, segment.subnets, segment.routers) == ("edubr0-c", ("10.231.0.0/24", "10.8.0.0/24"), ("10.231.0.254", "10.8.0.254"))
    assert (segment.gateway, segment.judged, segment.talk) == (False, False, False)
    assert [card.allow for card in plan.cards] == [(), (PING,)]
    assert taps.served("edubr0", edge({A: (one,)})) == ()


def test_a_node_without_an_address_forwards_nothing() -> None:
    forward = NodeForward(instance=A, protocol=Protocol.TCP, port=20000, guest_port=22)
    assert made(edge({A: (behind(5),)}, forward), Here()).forwards == ()
    gone = NodeForward(instance=B, protocol=Protocol.TCP, port=20001, guest_port=22)
    assert made(edge({A: (behind(5),)}, gone)).forwards == ()


def test_a_card_of_a_cluster_that_does_not_say_its_network_is_left_out() -> None:
    assert made(edge({A: (Nic(mac="02:00:0a:e7:00:05", ip="10.231.0.5"),)})).cards == ()


def test_an_address_that_two_claim_is_the_first_ones() -> None:
    assert [card.tap for card in made(edge({B: (nic(5),), A: (nic(5),)})).cards] == [tap_name(A, nic(5).mac)]


def test_of_ipv6_a_card_has_the_address_of_its_mac_and_its_gateway_is_a_router() -> None:
    here, there = nic(5, subnet6="fd00:231::/64"), behind(6, subnet6="fd00:9::/64")
    plan = made(edge({A: (here,), B: (there,)}))
    segments = {each.name: each for each in plan.segments}
    assert segments["n0"].subnets == ("10.231.0.0/24", "fd00:231::/64")
    assert segments["n0"].routers == ("10.231.0.1", "fd00:231::1", "fe80::aff:fee7:1"), "also by the link-local address of its bridge"
    assert (segments["n9"].subnets, segments["n9"].routers) == (("10.9.0.0/24", "fd00:9::/64"), ())
    assert {card.addresses for card in plan.cards} == {(here.ip, here.ip6), (there.ip, there.ip6)}
    assert [each.subnet6 for each in taps.served("edubr0", edge({A: (here,), B: (there,)}))] == ["fd00:9::/64"]
