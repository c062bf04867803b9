"""The laws of a node's network, kept by every registered driver."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from luhyaapi import conf
from luhyaapi.contracts.specs import Nic, SegmentSpan
from luhyaapi.contracts.vocabulary import LinkState
from luhyaapi.edge import vxlan
from luhyaapi.errors import Failed, Refused
from nc.drivers import NETWORKS
from nc.drivers.base import NodeEdge, NodeNetwork
from nc.drivers.bridge_network import BridgeNetwork

A, B = "ins-0000000a", "ins-0000000b"
ONE, TWO = Nic(mac="52:54:00:00:00:01", ip="10.0.0.1"), Nic(mac="52:54:00:00:00:02", ip="10.0.0.2")
CLASS = Nic(mac="52:54:00:00:00:03", ip="10.7.0.3", network="net-00000001", segment=7)
SPACE, BRIDGE = "educloud-taps", "edutest0"


@dataclass
class Bench:
    """One driver on trial; ``guest(tap)`` does what a starting guest does."""

    driver: NodeNetwork
    guest: Callable[..., None]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _bridge() -> Iterator[Bench]:
    _ip("netns", "add", SPACE)
    try:
        def guest(tap: str, bridge: str = BRIDGE) -> None:
            _ip("-n", SPACE, "tuntap", "add", tap, "mode", "tap")
            _ip("-n", SPACE, "link", "set", tap, "master", bridge)

        yield Bench(BridgeNetwork(BRIDGE, SPACE), guest)
    finally:
        _ip("netns", "delete", SPACE)


@pytest.fixture(params=["fake", "user", pytest.param("bridge", marks=pytest.mark.live)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param != "bridge":
        yield Bench(NETWORKS[request.param](conf.Settings(host={"state": tmp_path})), lambda *_: None)
    else:
        yield from _bridge()


def test_every_registered_driver_is_on_trial() -> None:
    assert set(NETWORKS) == {"fake", "bridge", "user"}


def test_from_nothing_to_nothing(bench: Bench) -> None:
    assert bench.driver.found() == {}
    tap = bench.driver.plug(A, ONE)
    bench.guest(tap)
    assert bench.driver.found() == {tap: A}
    bench.driver.unplug(A)
    assert bench.driver.found() == {}


def test_twice_is_as_once(bench: Bench) -> None:
    assert bench.driver.plug(A, ONE) == bench.driver.plug(A, ONE)
    for _ in range(2):
        bench.driver.unplug(A)


def test_each_card_has_its_own_tap(bench: Bench) -> None:
    taps = {bench.driver.plug(instance, nic) for instance in (A, B) for nic in (ONE, TWO)}
    assert len(taps) == 4
    assert all(len(tap) <= 15 for tap in taps)


def test_unplug_leaves_the_others_alone(bench: Bench) -> None:
    for instance in (A, B):
        bench.guest(bench.driver.plug(instance, ONE))
    bench.driver.unplug(A)
    assert list(bench.driver.found().values()) == [B]


def test_each_network_has_its_bridge(bench: Bench, request: pytest.FixtureRequest) -> None:
    if "user" in request.node.name:
        with pytest.raises(Refused) as trouble:
            bench.driver.plug(A, CLASS)
        assert trouble.value.code == "not_found"
        assert bench.driver.found() == {}
        return
    home, away = bench.driver.plug(A, ONE), bench.driver.plug(A, CLASS)
    bench.guest(home)
    bench.guest(away, f"{BRIDGE}-7")
    assert bench.driver.found() == {home: A, away: A}
    bench.driver.unplug(A)
    assert bench.driver.found() == {}


def test_networks_reach_other_hosts_as_told(bench: Bench, request: pytest.FixtureRequest) -> None:
    span = SegmentSpan(segment=7, vni=7, local="192.0.2.1", peers=("192.0.2.2",))
    if "user" in request.node.name:
        bench.driver.span(())
        with pytest.raises(Refused) as trouble:
            bench.driver.span((span,))
        assert trouble.value.code == "not_found"
        return
    if "bridge" in request.node.name:
        _ip("-n", SPACE, "address", "add", "192.0.2.1/24", "dev", "lo")
        _ip("-n", SPACE, "link", "set", "lo", "up")
    for told in ((span,), (span,), (span.model_copy(update={"peers": ("192.0.2.3",)}),), ()):
        bench.driver.span(told)
        if "bridge" in request.node.name:
            assert vxlan.links(SPACE) == {each.vni: f"{BRIDGE}-7" for each in told}
            assert all(vxlan.is_there(f"{BRIDGE}-7", each, SPACE) for each in told)


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "-a", "../a"])
def test_a_bridge_that_cannot_be_called_so_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        BridgeNetwork(name)


@pytest.mark.live
def test_other_links_of_the_bridge_are_not_ours() -> None:
    for bench in _bridge():
        bench.driver.plug(A, ONE)
        bench.guest("vnet0")
        assert bench.driver.found() == {}


@pytest.mark.live
def test_a_link_of_that_name_that_is_no_bridge_is_said() -> None:
    for bench in _bridge():
        _ip("-n", SPACE, "tuntap", "add", BRIDGE, "mode", "tap")
        with pytest.raises(Failed, match="not a bridge") as trouble:
            bench.driver.plug(A, ONE)
        assert trouble.value.code == "network"


def test_looking_finds_that_a_card_is_not_there_and_changes_nothing(bench: Bench) -> None:
    for _ in range(2):
        found = bench.driver.look(A, ONE, NodeEdge(), ())
        assert {each.card for each in found} == {ONE.ip}
        assert [each.link for each in found if each.state is LinkState.BROKEN][:1] in (["tap"], ["bridge"])
    assert bench.driver.found() == {}
