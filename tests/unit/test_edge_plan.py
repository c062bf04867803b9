"""The rules between the fields of a plan, and what is computed from them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from luhyaapi.contracts.specs import Allow
from luhyaapi.contracts.vocabulary import Allowed, Protocol
from luhyaapi.edge.base import exchanged, with_exchanged
from luhyaapi.edge.plan import (
    Alias,
    Card,
    Forward,
    RulesPlan,
    Segment,
    check,
    collapsed,
    is_limited,
    key,
    link_local,
    owned,
)
from luhyaapi.errors import Refused

DESK = Segment(name="desk", bridge="br0", subnets=("10.77.0.0/24", "fd00:77::/64"), routers=("10.77.0.254",))
CLASS = Segment(name="class", bridge="br1", subnets=("10.78.0.0/24", "10.79.0.0/31"), gateway=True)
ONE = Card(tap="tap1", mac="02:00:00:00:00:01", addresses=("10.77.0.10", "fd00:77::a", "fe80::7"), segment="desk",
           allow=(Allow(protocol=Allowed.TCP, first_port=22, last_port=22), Allow(protocol=Allowed.ANY, source="::/0")))
TWO = Card(tap="tap2", mac="02:00:00:00:00:02", addresses=("10.79.0.0", "10.79.0.1"), segment="class")
WEB = Forward(protocol=Protocol.TCP, address="192.0.2.1", port=80, to="10.77.0.10", to_port=8080, sources=("10.0.0.0/8",))
ELASTIC = Alias(address="192.0.2.7", to="10.77.0.10")
GOOD = RulesPlan(name="cc", uplinks=("eth0",), segments=(DESK, CLASS), forwards=(WEB,), aliases=(ELASTIC,), cards=(ONE, TWO))


def card(**over: object) -> tuple[Card, ...]:
    return (ONE.model_copy(update=over), TWO)


def segments(**over: object) -> tuple[Segment, ...]:
    return (DESK, CLASS.model_copy(update=over))


def forwards(**over: object) -> tuple[Forward, ...]:
    return (WEB.model_copy(update={"port": 81}), WEB.model_copy(update=over))


def aliases(**over: object) -> tuple[Alias, ...]:
    return (ELASTIC, Alias(**{"address": "192.0.2.8", "to": "10.79.0.1", **over}))


def allowed(**over: object) -> tuple[Card, ...]:
    # no order bears some of these; a plan does not rely on that
    return card(allow=(Allow.model_construct(**{"protocol": "tcp", "first_port": 1, "last_port": 1, **over}),))


def test_what_a_good_plan_takes_is_said() -> None:
    taken = check(GOOD)
    assert taken.guests == {"10.77.0.10", "fd00:77::a", "fe80::7", "10.79.0.0", "10.79.0.1"}
    assert taken.elastic == {"192.0.2.7"}
    check(RulesPlan(name="empty"))


@pytest.mark.parametrize(("over", "why"), [
    ({"segments": segments(name="desk")}, "two segments desk"),
    ({"segments": segments(bridge="br0")}, "br0 has two segments"),
    ({"segments": segments(subnets=("10.78.0.0/24", "10.78.0.128/25"))}, "10.78.0.0/24 and 10.78.0.128/25 overlap"),
    ({"segments": segments(subnets=("fd00:77::/48",))}, "overlap"),
    ({"segments": segments(subnets=("10.78.0.1/24",))}, "host bits"),
    ({"segments": segments(subnets=("everything",))}, "everything"),
    ({"segments": segments(routers=("10.78.0.1",))}, "here and elsewhere"),
    ({"segments": segments(gateway=False, routers=("10.77.0.1",))}, "10.77.0.1 is not of the segment class"),
    ({"segments": segments(gateway=False, routers=("x",))}, "'x'"),
    ({"cards": card(tap="tap2")}, "tap2 has two uses"),
    ({"cards": card(tap="br1")}, "br1 has two uses"),
    ({"cards": card(tap="eth0")}, "eth0 has two uses"),
    ({"cards": card(mac=TWO.mac)}, f"{TWO.mac} is on two cards"),
    ({"cards": card(mac="03:00:00:00:00:01")}, "group address"),
    ({"cards": card(segment="lab")}, "no segment lab"),
    ({"cards": card(addresses=("10.79.0.1",), segment="class")}, "10.79.0.1 of tap2 is taken"),
    ({"cards": card(addresses=("10.77.0.10", "10.77.0.10"))}, "is taken"),
    ({"segments": segments(subnets=("169.254.0.0/16",)), "cards": card(addresses=("169.254.169.254",))}, "169.254.169.254 of tap1 is taken"),
    ({"cards": card(mac="02:00:a9:fe:a9:fe")}, "02:00:a9:fe:a9:fe is on two cards"),
    ({"cards": card(addresses=("10.77.0.254",))}, "10.77.0.254 of tap1 is taken"),
    ({"cards": card(addresses=("10.78.0.10",))}, "10.78.0.10 is not of the segment desk"),
    ({"cards": card(addresses=("10.77.0.0",))}, "10.77.0.0 is no host's address"),
    ({"cards": card(addresses=("10.77.0.255",))}, "10.77.0.255 is no host's address"),
    ({"cards": card(addresses=("10.77.0",))}, "10.77.0"),
    ({"cards": card(addresses=("fe80::1%}; flush ruleset",))}, "has a zone"),
    ({"cards": allowed(source="fe80::%}; flush ruleset/64")}, "has a zone"),
    ({"cards": allowed(source="10.0.0.1/8")}, "host bits"),
    ({"cards": allowed(last_port=0)}, "1 to 0 are no ports"),
    ({"cards": allowed(protocol="udp", first_port=0)}, "0 to 1 are no ports"),
    ({"cards": allowed(protocol="icmp")}, "icmp has no ports"),
    ({"cards": allowed(protocol="any", first_port=0)}, "any has no ports"),
    ({"aliases": aliases(address="127.0.0.1")}, "127.0.0.1 is no host's address"),
    ({"aliases": aliases(to="224.0.0.1")}, "224.0.0.1 is no host's address"),
    ({"aliases": aliases(address="10.77.0.10")}, "10.77.0.10 is a guest's and cannot be elastic"),
    ({"aliases": aliases(address="192.0.2.7")}, "192.0.2.7 is elastic twice"),
    ({"aliases": aliases(to="10.77.0.10")}, "10.77.0.10 has two elastic addresses"),
    ({"aliases": aliases(to="192.0.2.7")}, "192.0.2.7 is elastic and behind an elastic address"),
    ({"forwards": forwards(port=81)}, "tcp 192.0.2.1:81 is forwarded twice"),
    ({"forwards": forwards(address="0.0.0.0")}, "0.0.0.0 is no host's address"),
    ({"forwards": forwards(to="255.255.255.255")}, "255.255.255.255 is no host's address"),
    ({"forwards": forwards(to="10.77.0.256")}, "10.77.0.256"),
    ({"forwards": forwards(address="10.77.0.10")}, "10.77.0.10 is a guest's and cannot be forwarded"),
    ({"forwards": forwards(address="192.0.2.7")}, "192.0.2.7 is elastic"),
    ({"forwards": forwards(sources=("::/0",))}, "::/0 cannot ask for 192.0.2.1"),
    ({"forwards": forwards(sources=("10.0.0.1/8",))}, "host bits"),
])
def test_a_plan_that_cannot_be_is_refused_saying_why(over: dict[str, object], why: str) -> None:
    with pytest.raises(Refused) as caught:
        check(GOOD.model_copy(update=over))
    assert caught.value.code == "invalid"
    assert why in caught.value.why


@pytest.mark.parametrize("over", [
    {"segments": segments(subnets=("10.78.0.0/24", "10.79.0.0/31", "fd00:78::/64"))},
    {"cards": card(addresses=("fe80::1", "fd00:77::"))},
    {"forwards": forwards(protocol=Protocol.UDP, port=81)},
    {"forwards": forwards(address="10.77.0.254")},
    {"aliases": aliases(to="192.0.2.99")},
    {"cards": (ONE,), "segments": (DESK,)},
])
def test_what_only_looks_wrong_is_taken(over: dict[str, object]) -> None:
    check(GOOD.model_copy(update=over))


@pytest.mark.parametrize("name", ["a" * 16, "tap*", "tap+", 'tap"', "tap 1", "-tap", "a/b", "a:b", "tap\n", ".."])
def test_a_link_no_program_could_be_told_is_no_link(name: str) -> None:
    with pytest.raises(ValidationError):
        Card(tap=name, mac=ONE.mac, addresses=ONE.addresses, segment="desk")


@pytest.mark.parametrize("name", ["", "A", "a.b", "a_b", "1a", "a" * 14, "a\n"])
def test_a_name_no_table_could_bear_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        RulesPlan(name=name)


@pytest.mark.parametrize(("mac", "address"), [
    ("02:00:00:00:00:01", "fe80::ff:fe00:1"),
    ("52:54:00:12:34:56", "fe80::5054:ff:fe12:3456"),
])
def test_a_link_local_address_is_made_of_the_mac(mac: str, address: str) -> None:
    assert link_local(mac) == address


def test_a_card_owns_its_addresses_and_one_of_its_mac() -> None:
    assert {str(one) for one in owned(ONE)} == {*ONE.addresses, "fe80::ff:fe00:1"}


@pytest.mark.parametrize(("sources", "limited"), [((), False), (("0.0.0.0/0", "10.0.0.0/8"), False), (("10.0.0.0/8",), True)])
def test_a_forward_is_limited_unless_it_is_for_anyone(sources: tuple[str, ...], limited: bool) -> None:
    assert is_limited(WEB.model_copy(update={"sources": sources})) is limited


nets = st.builds(lambda bits, length: str(ipaddress.ip_network((bits, length), strict=False)), st.integers(0, 2**32 - 1), st.integers(1, 32))


@given(st.lists(nets, min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_collapsed_sources_are_apart_and_mean_the_same(texts: list[str], bits: int) -> None:
    one, left = ipaddress.IPv4Address(bits), [ipaddress.IPv4Network(text) for text in collapsed(texts)]
    assert any(one in ipaddress.IPv4Network(text) for text in texts) == any(one in net for net in left)
    assert not any(a.overlaps(b) for a in left for b in left if a is not b)


some = st.lists(st.builds(Forward, protocol=st.sampled_from(Protocol), address=st.just("192.0.2.1"), port=st.integers(1, 4),
                          to=st.sampled_from(("10.77.0.10", "10.77.0.11")), to_port=st.just(80)), max_size=6)


@given(some, some, some)
def test_an_exchange_is_the_plan_without_and_with(there: list[Forward], gone: list[Forward], new: list[Forward]) -> None:
    plan = RulesPlan(name="a", forwards=tuple({key(each): each for each in there}.values()))
    try:
        left = with_exchanged(plan, gone, new)
    except Refused:
        kept = [each for each in plan.forwards if each not in gone]
        missing = [each for each in gone if each not in plan.forwards]
        keys = [key(each) for each in (*kept, *new)]
        assert missing or len(set(gone)) < len(gone) or len(set(keys)) < len(keys)
    else:
        assert left.forwards == (*(each for each in plan.forwards if each not in gone), *new)
        check(left)


def test_an_exchange_of_nothing_leaves_nothing_to_do() -> None:
    assert exchanged({key(WEB): WEB}, (), ()) == {}
    assert exchanged({key(WEB): WEB}, (WEB,), ()) == {key(WEB): None}
    assert exchanged({key(WEB): WEB}, (WEB,), (WEB,)) == {key(WEB): WEB}
