"""The packet rules of a node: a function of its cards."""

from __future__ import annotations

from luhyaapi.contracts.specs import Nic
from luhyaapi.edge import plan as packets
from nc.drivers import taps
from nc.drivers.base import tap_name

A, B = "ins-0000000a", "ins-0000000b"


def nic(number: int, **over: object) -> Nic:
    fields = {"mac": f"02:00:0a:e7:00:{number:02x}", "ip": f"10.231.0.{number}", "subnet": "10.231.0.0/24", "gateway": "10.231.0.1"}
    return Nic.model_validate(fields | over)


def test_each_card_has_its_tap_and_each_network_its_segment() -> None:
    other = nic(9, ip="10.7.0.9", subnet="10.7.0.0/24", gateway="10.7.0.1", segment=7, isolated=True, network="net-00000007")
    plan = taps.plan("edubr0", {A: (nic(5), other), B: (nic(6),)})
    packets.check(plan)
    assert {(card.tap, card.addresses, card.segment) for card in plan.cards} == {
        (tap_name(A, nic(5).mac), ("10.231.0.5",), "n0"), (tap_name(A, other.mac), ("10.7.0.9",), "n7"), (tap_name(B, nic(6).mac), ("10.231.0.6",), "n0"),
    }
    assert [(s.bridge, s.routers, s.talk, s.judged) for s in plan.segments] == [
        ("edubr0", ("10.231.0.1",), True, True), ("edubr0-7", ("10.7.0.1",), False, True),
    ]


def test_a_card_of_a_cluster_that_does_not_say_its_network_is_left_out() -> None:
    assert taps.plan("edubr0", {A: (Nic(mac="02:00:0a:e7:00:05", ip="10.231.0.5"),)}).cards == ()


def test_an_address_that_two_claim_is_the_first_ones() -> None:
    plan = taps.plan("edubr0", {B: (nic(5),), A: (nic(5),)})
    packets.check(plan)
    assert [card.tap for card in plan.cards] == [tap_name(A, nic(5).mac)]
