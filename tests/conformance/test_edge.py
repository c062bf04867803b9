"""The laws of EdgeDriver, over every registered driver."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.drivers import EDGES
from cc.drivers.base import EdgeDriver, EdgePlan
from luhyaapi import clock, conf, process
from luhyaapi.contracts.specs import Nic
from luhyaapi.contracts.vocabulary import LinkState
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.edge.plan import RulesPlan, Segment
from luhyaapi.errors import Refused

NEEDS_ROOT = {"dnsmasq"}
DRIVERS = [pytest.param(name, marks=[pytest.mark.live] if name in NEEDS_ROOT else []) for name in sorted(EDGES)]


def lease(number: int, **over: str) -> EdgeLease:
    fields = {"instance": f"ins-{number:08x}", "mac": f"02:00:0a:4d:00:{number:02x}", "ip": f"10.77.0.{number}", "hostname": f"pc-{number}"}
    return EdgeLease(**{**fields, **over})


def network(*leases: EdgeLease, **over: str) -> EdgeNetwork:
    fields = {"bridge": "edutest0", "subnet": "10.77.0.0/24", "gateway": "10.77.0.1"}
    return EdgeNetwork(**{**fields, **over}, leases=leases)


def plan(*leases: EdgeLease, **over: str) -> EdgePlan:
    return EdgePlan(networks=(network(*leases, **over),))


def other(number: int, *leases: EdgeLease, **over: str) -> EdgeNetwork:
    return network(*leases, **({"bridge": f"edutest0-{number}", "subnet": f"10.78.{number}.0/24", "gateway": f"10.78.{number}.1"} | over))


@pytest.fixture(params=DRIVERS)
def edge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EdgeDriver]:
    settings = conf.Settings(
        host=conf.Host(role=conf.Role.CC, state=tmp_path), network=conf.Network(driver=request.param, bridge="edutest0"),
    )
    if request.param in NEEDS_ROOT:
        request.getfixturevalue("namespace")
    driver = EDGES[request.param](settings)
    yield driver
    driver.down()


@pytest.fixture
def namespace() -> Iterator[None]:
    from pyroute2 import netns

    name = f"edu-edge-{secrets.token_hex(3)}"
    process.run(["ip", "netns", "add", name], timeout_s=10)
    netns.pushns(name)
    try:
        yield
    finally:
        netns.popns()
        process.run(["ip", "netns", "del", name], timeout_s=10)


def test_nothing_is_found_before_the_first_plan(edge: EdgeDriver) -> None:
    assert edge.found() is None


def test_what_was_applied_is_found(edge: EdgeDriver) -> None:
    edge.apply(plan())
    assert edge.found() == plan()
    edge.apply(plan(lease(10), lease(11)))
    assert edge.found() == plan(lease(10), lease(11))


def test_a_machine_that_is_no_guest_is_served_beside_guests(edge: EdgeDriver) -> None:
    printer = EdgeLease(mac="00:11:22:33:44:55", ip="10.77.0.11", hostname="host-10-77-0-11")
    for wanted in (plan(lease(10), printer), plan(lease(10)), plan(lease(10), lease(11))):
        edge.apply(wanted)
        assert edge.found() == wanted


def test_each_plan_replaces_the_one_before_whole(edge: EdgeDriver) -> None:
    edge.apply(plan(lease(10), lease(11)))
    swapped = plan(lease(12), lease(11, ip="10.77.0.10"), lease(10, ip="10.77.0.11"))
    for wanted in (swapped, swapped, plan(lease(10)), plan()):
        edge.apply(wanted)
        assert edge.found() == wanted


def test_what_is_lent_is_served_before_the_next_plan_and_is_part_of_it(edge: EdgeDriver) -> None:
    more = (lease(11), lease(12))
    assert not edge.lend("edutest0", more), "there is no network yet"
    edge.apply(plan(lease(10)))
    if edge.lend("edutest0", more):
        assert edge.lend("edutest0", more)
        found = edge.found()
        assert found is not None
        assert set(found.networks[0].leases) == {lease(10), *more}
        assert not edge.lend("edutest0-7", more), "there is no such network"
        with pytest.raises(Refused):
            edge.lend("edutest0", (lease(13, ip="10.99.0.1"),))
        assert edge.found() == found
    for wanted in (plan(lease(10), *more), plan(lease(11))):
        edge.apply(wanted)
        assert edge.found() == wanted


def test_networks_come_and_go_beside_each_other(edge: EdgeDriver) -> None:
    first, second = other(1, lease(20, ip="10.78.1.20")), other(2)
    for wanted in ((first,), (first, second), (second,), ()):
        both = EdgePlan(networks=(network(lease(10)), *wanted))
        edge.apply(both)
        assert edge.found() == both


def test_a_network_that_changes_its_subnet_is_that_network_still(edge: EdgeDriver) -> None:
    edge.apply(EdgePlan(networks=(network(lease(10)), other(1, lease(20, ip="10.78.1.20")))))
    moved = EdgePlan(networks=(network(lease(10)), other(1, lease(20, ip="10.79.1.20"), subnet="10.79.1.0/24", gateway="10.79.1.1")))
    edge.apply(moved)
    assert edge.found() == moved


RULES = RulesPlan(name="cc-edutest0", segments=(Segment(name="n0", bridge="edutest0", subnets=("10.77.0.0/24",), gateway=True),))


def test_rules_are_in_force_with_their_networks(edge: EdgeDriver) -> None:
    closed = RULES.model_copy(update={"segments": (RULES.segments[0].model_copy(update={"way_out": False}),)})
    for rules in (RULES, closed, None, RULES):
        wanted = plan(lease(10)).model_copy(update={"rules": rules})
        edge.apply(wanted)
        assert edge.found() == wanted


def test_rules_that_cannot_be_are_refused_with_their_plan(edge: EdgeDriver) -> None:
    edge.apply(plan(lease(10)))
    with pytest.raises(Refused) as caught:
        edge.apply(plan(lease(10), lease(11)).model_copy(update={"rules": RULES.model_copy(update={"segments": RULES.segments * 2})}))
    assert caught.value.code == "invalid"
    assert edge.found() == plan(lease(10))


@pytest.mark.live
def test_a_network_of_others_without_a_card_of_ours_is_in_nobodys_way(namespace: None, tmp_path: Path) -> None:
    edge = EDGES["dnsmasq"](conf.Settings(host=conf.Host(role=conf.Role.CC, state=tmp_path), network=conf.Network(bridge="edutest0")))
    campus = other(3).model_copy(update={"shared": True})
    try:
        for networks in ((network(lease(10)), campus), (network(lease(10)),)):
            edge.apply(EdgePlan(networks=networks))
            assert edge.found() == plan(lease(10))
    finally:
        edge.down()


@pytest.mark.live
def test_flushed_rules_are_found_missing_and_come_back(namespace: None, tmp_path: Path) -> None:
    edge = EDGES["dnsmasq"](conf.Settings(host=conf.Host(role=conf.Role.CC, state=tmp_path), network=conf.Network(bridge="edutest0")))
    wanted = plan(lease(10)).model_copy(update={"rules": RULES})
    try:
        edge.apply(wanted)
        process.run(["nft", "flush", "ruleset"], timeout_s=10)
        assert edge.found() == plan(lease(10))
        edge.apply(wanted)
        assert edge.found() == wanted
    finally:
        edge.down()


@pytest.mark.parametrize("second", [
    other(1, subnet="10.77.0.0/16", gateway="10.77.9.1"),
    other(1, bridge="edutest0"),
    other(1, lease(20, ip="10.78.1.20", mac="02:00:0a:4d:00:0a")),
])
def test_two_networks_that_cannot_be_beside_each_other_are_refused(edge: EdgeDriver, second: EdgeNetwork) -> None:
    edge.apply(plan(lease(10)))
    with pytest.raises(Refused) as caught:
        edge.apply(EdgePlan(networks=(network(lease(10)), second)))
    assert caught.value.code == "invalid"
    assert edge.found() == plan(lease(10))


@pytest.mark.parametrize("broken", [
    plan(lease(10), lease(11, ip="10.77.0.10")),
    plan(lease(10), lease(11, mac="02:00:0a:4d:00:0a")),
    plan(lease(10, ip="10.78.0.10")),
    plan(lease(10, ip="10.77.0.300")),
    plan(lease(10, ip="10.77.0.1")),
    plan(lease(10, ip="10.77.0.0")),
    plan(lease(10, ip="10.77.0.255")),
    plan(lease(10, mac="01:00:0a:4d:00:0a")),
    plan(gateway="10.77.1.1"),
    plan(gateway="10.77.0.255"),
    plan(subnet="10.77.0.1/24"),
    plan(subnet="everything"),
])
def test_a_broken_plan_is_refused_and_changes_nothing(edge: EdgeDriver, broken: EdgePlan) -> None:
    edge.apply(plan(lease(20)))
    with pytest.raises(Refused) as caught:
        edge.apply(broken)
    assert (caught.value.code, caught.value.why != "") == ("invalid", True)
    assert edge.found() == plan(lease(20))


@pytest.mark.parametrize("name", ["", "a" * 16, "br0; reboot", "../br", "-br", "br\n"])
def test_a_bridge_name_no_kernel_takes_is_no_plan(name: str) -> None:
    with pytest.raises(ValueError, match="bridge"):
        plan(bridge=name)


def test_down_leaves_nothing_and_may_be_said_twice(edge: EdgeDriver, tmp_path: Path) -> None:
    edge.apply(plan(lease(10)))
    edge.down()
    edge.down()
    assert edge.found() is None
    assert list(tmp_path.iterdir()) == []
    edge.apply(plan(lease(11)))
    assert edge.found() == plan(lease(11))


def test_closing_does_not_take_the_network_from_the_guests(edge: EdgeDriver) -> None:
    edge.apply(plan(lease(10)))
    edge.close()
    assert edge.found() == plan(lease(10))


def test_looking_finds_what_was_never_applied_and_changes_nothing(edge: EdgeDriver) -> None:
    wanted, nic = plan(lease(10)), Nic(mac=lease(10).mac, ip=lease(10).ip, subnet="10.77.0.0/24", gateway="10.77.0.1")
    found = edge.look(nic, wanted, ())
    assert {each.card for each in found} <= {nic.ip}
    assert [each.link for each in found if each.state is LinkState.BROKEN][:1] in ([], ["bridge"], ["guards"])
    assert edge.found() is None
    edge.apply(wanted)
    assert not {each.link for each in edge.look(nic, wanted, ()) if each.state is LinkState.BROKEN} & {"bridge", "gateway", "dhcp", "guards"}


def nic(number: int, **over: object) -> Nic:
    return Nic(**{"mac": f"02:00:0a:4d:00:{number:02x}", "ip": f"10.77.0.{number}", "subnet": "10.77.0.0/24", "gateway": "10.77.0.1"} | over)


def test_nobody_answers_for_addresses_that_are_free(edge: EdgeDriver) -> None:
    edge.apply(plan(lease(10), lease(11)))
    assert edge.answering([nic(10), nic(11), nic(12, segment=7), nic(13, mode="node"), nic(14, mode="campus")]) == {}
    assert edge.answering([]) == {}
    assert edge.seen(network()) == edge.seen(network(bridge="edutest0-9")) == ()


@pytest.mark.live
def test_who_answers_for_an_address_is_told_by_his_mac_and_then_was_seen(namespace: None, tmp_path: Path) -> None:
    """A machine of somebody else in the network, asked for beside two hundred addresses, and once more in a network of others."""
    edge = EDGES["dnsmasq"](conf.Settings(host=conf.Host(role=conf.Role.CC, state=tmp_path), network=conf.Network(bridge="edutest0", rules="none")))
    other = f"edu-other-{secrets.token_hex(3)}"
    process.run(["ip", "netns", "add", other], timeout_s=10)
    try:
        edge.apply(plan())
        for words in (
            f"link add v0 type veth peer name eth0 address 00:11:22:33:44:55 netns {other}", "link set v0 master edutest0 up",
            f"-n {other} address add 10.77.0.10/24 dev eth0", f"-n {other} link set eth0 up",
        ):
            process.run(["ip", *words.split()], timeout_s=10)
        cards = [nic(number) for number in range(2, 200)]
        began = clock.monotonic()
        assert edge.answering(cards) == {"10.77.0.10": "00:11:22:33:44:55"}
        assert clock.monotonic() - began < 5, "one after the other they take longer"
        process.run(["ip", "netns", "exec", other, "python3", "-c", "import socket; socket.socket(2, 2).sendto(b'x', ('10.77.0.1', 9))"], timeout_s=10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.sendto(b"x", ("10.77.0.10", 9))
        until = clock.monotonic() + 5
        while not edge.seen(network()) and clock.monotonic() < until:
            clock.sleep(0.05)
        (seen,) = edge.seen(network())
        assert (seen.ip, seen.mac) == ("10.77.0.10", "00:11:22:33:44:55")
        assert abs(clock.now() - seen.at) < 10
        assert edge.answering([nic(10, mode="campus")]) == {"10.77.0.10": "00:11:22:33:44:55"}, "its own card of that network is the bridge here"
        process.run(["ip", "link", "add", "d0", "address", "02:00:00:00:00:d0", "type", "bridge"], timeout_s=10)
        process.run(["ip", "address", "add", "10.77.0.12/24", "dev", "d0"], timeout_s=10)
        assert edge.answering([nic(12), nic(13)]) == {"10.77.0.12": "02:00:00:00:00:d0"}, "this host has it itself"
    finally:
        edge.down()
        process.run(["ip", "netns", "del", other], timeout_s=10)
