"""The laws of RulesDriver, over every registered driver."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator

import pytest
from pyroute2 import netns

from luhyaapi import process
from luhyaapi.contracts.specs import Allow
from luhyaapi.contracts.vocabulary import Allowed, Protocol
from luhyaapi.edge import RULES
from luhyaapi.edge.base import RulesDriver
from luhyaapi.edge.fake import FakeRules
from luhyaapi.edge.plan import (
    Alias,
    Card,
    Forward,
    RulesPlan,
    Segment,
)
from luhyaapi.errors import Failed, Refused

NEEDS_ROOT = {"iptables", "nftables"}
DRIVERS = [pytest.param(name, marks=[pytest.mark.live] if name in NEEDS_ROOT else []) for name in sorted(RULES)]
DESK = Segment(name="desk", bridge="edubr0", subnets=("10.77.0.0/24", "fd00:77::/64"))
CLASS = Segment(name="class", bridge="edubr1", subnets=("10.78.0.0/24", "10.79.0.0/24"), gateway=True, way_out=False, talk=False)
CAMPUS = Segment(name="campus", bridge="wan0", subnets=("192.0.2.0/24", "2001:db8::/64"), routers=("192.0.2.254", "2001:db8::1"), talk=False)
ALLOW = (
    Allow(protocol=Allowed.TCP, first_port=22, last_port=22), Allow(protocol=Allowed.UDP, first_port=1, last_port=65535, source="10.0.0.0/8"),
    Allow(protocol=Allowed.ICMP), Allow(protocol=Allowed.ICMP, source="::/0"), Allow(protocol=Allowed.ANY, source="2001:db8:7::/48"),
    Allow(protocol=Allowed.TCP, first_port=80, last_port=90, source="10.0.0.0/8"), Allow(protocol=Allowed.ANY, source="10.1.0.0/16"),
)
SERVED = DESK.model_copy(update={"name": "served", "bridge": "edubr2", "subnets": ("10.80.0.0/24",), "metadata": True})
GUARDED = Segment(name="guarded", bridge="edubr3", subnets=("10.81.0.2/32",), metadata=True, judged=True)
FULL = {
    "uplinks": ("wan0", "ppp0"), "segments": (DESK, CLASS, CAMPUS), "aliases": (Alias(address="203.0.113.7", to="10.77.0.10"),),
    "cards": (
        Card(tap="tap-1", mac="02:00:0a:4d:00:0a", addresses=("10.77.0.10", "fd00:77::a"), segment="desk", allow=ALLOW),
        Card(tap="tap-2", mac="02:00:0a:4d:00:0b", addresses=("10.77.0.11", "10.77.0.12"), segment="desk", allow=ALLOW),
        Card(tap="dnat", mac="02:00:0a:4d:00:0c", addresses=("10.78.0.2",), segment="class"),
        Card(tap="4th", mac="02:00:0a:4d:00:0d", addresses=("192.0.2.7", "2001:db8::7", "fe80::7"), segment="campus", allow=ALLOW[:1]),
    ),
}


def forward(port: int, to: str = "10.77.0.10", *sources: str, protocol: Protocol = Protocol.TCP) -> Forward:
    return Forward(protocol=protocol, address="203.0.113.1", port=port, to=to, to_port=port, sources=sources)


def plan(*forwards: Forward, **over: object) -> RulesPlan:
    return RulesPlan(**{"name": "test", "forwards": forwards, **over})


PLANS = [
    plan(),
    plan(forward(80), forward(80, protocol=Protocol.UDP)),
    plan(forward(80, "10.77.0.11"), forward(81, "10.77.0.10", "10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"), **FULL),
    plan(forward(81, "10.77.0.10", "192.0.2.0/24"), forward(82, "10.77.0.10", "0.0.0.0/0"), **FULL),
    plan(**{**FULL, "aliases": (Alias(address="203.0.113.7", to="10.77.0.11"),), "cards": FULL["cards"][1:]}),
    plan(forward(80), **{**FULL, "segments": (DESK, CAMPUS.model_copy(update={"talk": True})), "cards": FULL["cards"][:2]}),
    plan(forward(80), segments=(DESK.model_copy(update={"subnets": ("10.77.0.0/16",)}),), uplinks=("wan0",)),
    plan(segments=(SERVED, GUARDED), uplinks=("wan0",), cards=(
        Card(tap="tap-1", mac="02:00:0a:4d:00:0a", addresses=("10.80.0.10",), segment="served", allow=ALLOW),
        Card(tap="tap-2", mac="02:00:0a:4d:00:0b", addresses=("10.81.0.2",), segment="guarded"),
    )),
    plan(segments=(SERVED.model_copy(update={"talk": False}),)),
]
BROKEN = plan(forward(80), forward(80, "10.77.0.11"))


@pytest.fixture
def namespace() -> Iterator[None]:
    name = f"edu-rules-{secrets.token_hex(3)}"
    process.run(["ip", "netns", "add", name], timeout_s=10)
    netns.pushns(name)
    try:
        process.run(["ip", "link", "add", "edubr0", "type", "bridge"], timeout_s=10)
        yield
    finally:
        netns.popns()
        process.run(["ip", "netns", "del", name], timeout_s=10)


@pytest.fixture(params=DRIVERS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str], RulesDriver]]:
    if request.param in NEEDS_ROOT:
        request.getfixturevalue("namespace")
    made: list[RulesDriver] = []

    def one(name: str) -> RulesDriver:
        made.append(RULES[request.param](name))
        return made[-1]

    yield one
    for driver in made:
        driver.down()
        driver.close()


@pytest.fixture
def stranger(request: pytest.FixtureRequest, make: object) -> Callable[[], object]:
    """Changes packet rules that are not ours, so that no driver trusts that all is as it left it."""
    del make
    if "namespace" not in request.fixturenames and not request.node.get_closest_marker("live"):
        return lambda: None
    return lambda: process.run(["nft", "add table ip stranger; delete table ip stranger"], timeout_s=10)


@pytest.fixture
def rules(make: Callable[[str], RulesDriver]) -> RulesDriver:
    return make("test")


def test_nothing_is_found_before_the_first_plan(rules: RulesDriver) -> None:
    assert rules.found() is None


def test_each_plan_replaces_the_one_before_whole(rules: RulesDriver, stranger: Callable[[], object]) -> None:
    for wanted in (*PLANS, *reversed(PLANS)):
        rules.apply(wanted)
        stranger()
        assert rules.found() == wanted
        rules.apply(wanted)
        assert rules.found() == wanted


@pytest.mark.parametrize("broken", [BROKEN, plan(name="other"), plan(forward(80, "10.77.0.300"))])
def test_a_broken_plan_is_refused_and_changes_nothing(rules: RulesDriver, broken: RulesPlan) -> None:
    rules.apply(PLANS[2])
    with pytest.raises(Refused) as caught:
        rules.apply(broken)
    assert (caught.value.code, caught.value.why != "") == ("invalid", True)
    assert rules.found() == PLANS[2]


def test_forwards_are_exchanged(rules: RulesDriver, stranger: Callable[[], object]) -> None:
    one, two, three, limited = forward(80), forward(81), forward(82), forward(83, "10.77.0.10", "10.0.0.0/8")
    elsewhere = forward(80).model_copy(update={"address": "203.0.113.2"})
    rules.apply(plan(one, two, **FULL))
    for gone, new, left in (
        ((one,), (), (two,)),
        ((), (three, one), (two, three, one)),
        ((two,), (forward(81, "10.77.0.11"),), (three, one, forward(81, "10.77.0.11"))),
        ((), (limited,), (three, one, forward(81, "10.77.0.11"), limited)),
        ((limited, three), (elsewhere,), (one, forward(81, "10.77.0.11"), elsewhere)),
        ((), (), (one, forward(81, "10.77.0.11"), elsewhere)),
        ((elsewhere, one, forward(81, "10.77.0.11")), (), ()),
        ((), (one,), (one,)),
    ):
        rules.exchange(gone, new)
        stranger()
        assert rules.found() == plan(*left, **FULL)
    rules.apply(plan(one, two, **FULL))
    assert rules.found() == plan(one, two, **FULL)


@pytest.mark.parametrize(("gone", "new"), [
    ((forward(81),), ()),
    ((forward(80, "10.77.0.11"),), ()),
    ((forward(80), forward(80)), ()),
    ((), (forward(80, "10.77.0.11"),)),
    ((), (forward(81), forward(81))),
    ((), (forward(81, "127.0.0.1"),)),
    ((), (forward(81).model_copy(update={"address": "10.77.0.10"}),)),
    ((), (forward(81).model_copy(update={"address": "203.0.113.7"}),)),
])
def test_an_exchange_that_cannot_be_changes_nothing(rules: RulesDriver, gone: tuple[Forward, ...], new: tuple[Forward, ...]) -> None:
    wanted = plan(forward(80), **FULL)
    rules.apply(wanted)
    with pytest.raises(Refused) as caught:
        rules.exchange(gone, new)
    assert caught.value.code == "invalid"
    assert rules.found() == wanted


def test_an_exchange_needs_a_plan(rules: RulesDriver) -> None:
    with pytest.raises(Refused) as caught:
        rules.exchange((), (forward(80),))
    assert caught.value.code == "state"


def test_drivers_of_two_names_stand_beside_each_other(make: Callable[[str], RulesDriver]) -> None:
    one, two = make("a"), make("a-bcdefghijk")
    one.apply(plan(forward(80), name="a"))
    two.apply(plan(forward(81), name="a-bcdefghijk", **FULL))
    one.down()
    assert (one.found(), two.found()) == (None, plan(forward(81), name="a-bcdefghijk", **FULL))


def test_down_leaves_nothing_and_may_be_said_twice(rules: RulesDriver) -> None:
    rules.apply(PLANS[2])
    rules.down()
    rules.down()
    assert rules.found() is None
    rules.apply(PLANS[3])
    assert rules.found() == PLANS[3]


def test_closing_does_not_take_the_rules_away(rules: RulesDriver) -> None:
    rules.apply(PLANS[2])
    rules.close()
    assert rules.found() == PLANS[2]


def test_a_plan_of_ten_thousand_forwards(rules: RulesDriver, stranger: Callable[[], object]) -> None:
    many = tuple(forward(port, f"10.77.0.{port % 250 + 1}") for port in range(1, 10_001))
    for wanted in (plan(*many), plan(*many[:-1])):
        rules.apply(wanted)
        stranger()
        assert rules.found() == wanted


def test_any_plan_follows_any_other(rules: RulesDriver, stranger: Callable[[], object]) -> None:
    chance = random.Random(21)
    segments = (DESK.model_copy(update={"gateway": True, "routers": ()}), CLASS)
    for _ in range(24):
        cards = [
            Card(tap=f"tap{n}", mac=f"02:00:00:00:00:{chance.choice((n, n + 100)):02x}", addresses=(f"10.77.0.{n}", f"fd00:77::{n}"), segment="desk",
                 allow=tuple(chance.sample(ALLOW, chance.randrange(3))))
            for n in range(2, 12) if chance.random() < 0.6
        ]
        chance.shuffle(cards)
        limits = ((), ("10.0.0.0/8",), ("10.0.0.0/8", "192.0.2.0/24"))
        wanted = plan(
            *(forward(n, f"10.77.0.{chance.randrange(2, 12)}", *chance.choice(limits)) for n in range(1, 20) if chance.random() < 0.5),
            cards=tuple(cards), uplinks=("wan0",), segments=segments[:chance.choice((1, 2, 2, 2))],
            aliases=tuple(Alias(address=f"203.0.113.{n}", to=f"10.77.0.{n}") for n in range(2, 12) if chance.random() < 0.3),
        )
        rules.apply(wanted)
        stranger()
        assert rules.found() == wanted


def test_trouble_of_the_fake_is_raised_and_nothing_kept() -> None:
    rules = FakeRules("test")
    rules.apply(plan())
    rules.trouble = Failed("network", "told to")
    for call in (lambda: rules.apply(PLANS[1]), lambda: rules.exchange((), (forward(80),))):
        with pytest.raises(Failed, match="told to"):
            call()
    assert (rules.found(), rules.applied) == (plan(), 1)
