"""The laws of MetadataDoor, over every registered driver: cards ask, of taps the test makes."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyroute2 import netns

from luhyaapi import conf, process
from luhyaapi.edge.plan import METADATA
from nc.drivers import METADATA as DOORS
from nc.drivers.metadata_base import Answer, Asker, MetadataDoor, Question
from nc.drivers.metadata_fake import FakeMetadata
from tests.support.guarded_metadata import GuardedMetadata

ONE = Asker("br-one", "tap1", "02:00:00:00:00:01", "10.1.0.2")
TWO = Asker("br-one", "tap2", "02:00:00:00:00:02", "10.1.0.3")
AWAY = Asker("br-two", "tap3", "02:00:00:00:00:03", "10.2.0.2")
ALL = (ONE, TWO, AWAY)


@dataclass
class Bench:
    """A driver on trial; ``ask`` does what the guest of a card does, also from an address that is not its own. Empty: no answer came."""

    door: MetadataDoor
    ask: Callable[..., str]


def _told(bridge: str, ip: str, question: Question) -> Answer:
    return Answer(200, f"{bridge} {ip} {question.path}")


def _fake(tmp_path: Path) -> Iterator[Bench]:
    door = DOORS["fake"](conf.Settings(host={"state": tmp_path}), _told)
    assert isinstance(door, FakeMetadata)

    def ask(asker: Asker, ip: str = "") -> str:
        answer = door.ask(asker.tap, ip or asker.ip, Question("GET", "/x"))
        return answer.text if answer else ""

    yield Bench(door, ask)


def _ip(*words: str) -> None:
    process.run(["ip", *words], timeout_s=10)


def _bridge(rules: str) -> Iterator[Bench]:
    tag = secrets.token_hex(3)
    host, guests = f"edu-md-{tag}", {asker.tap: f"edu-{asker.tap}-{tag}" for asker in ALL}
    for name in (host, *guests.values()):
        _ip("netns", "add", name)
    netns.pushns(host)
    door = GuardedMetadata(_told, rules)
    try:
        for bridge in ("br-one", "br-two"):
            _ip("link", "add", bridge, "type", "bridge")
            _ip("link", "set", bridge, "up")
        for asker in ALL:
            name = guests[asker.tap]
            _ip("-n", name, "link", "add", "eth0", "address", asker.mac, "type", "veth", "peer", "name", asker.tap, "netns", host)
            _ip("link", "set", asker.tap, "master", asker.bridge, "up")
            _ip("-n", name, "link", "set", "eth0", "up")
            for each in ALL:  # every guest could say it is any
                _ip("-n", name, "address", "add", f"{each.ip}/32", "dev", "eth0")
            _ip("-n", name, "route", "add", "default", "dev", "eth0")
            # behind a router that is not there, so that nobody waits for an answer to ARP that does not come
            _ip("-n", name, "neighbour", "add", METADATA, "lladdr", "02:00:00:00:00:99", "dev", "eth0")

        def ask(asker: Asker, ip: str = "") -> str:
            netns.pushns(guests[asker.tap])
            try:
                client = socket.socket()
            finally:
                netns.popns()
            with client:
                client.settimeout(0.5)
                client.bind((ip or asker.ip, 0))
                try:
                    client.connect((METADATA, 80))
                    client.sendall(b"GET /x HTTP/1.1\r\n\r\n")
                    told = b""
                    while piece := client.recv(4096):
                        told += piece
                except OSError:
                    return ""
                return told.decode().partition("\r\n\r\n")[2]

        yield Bench(door, ask)
    finally:
        door.close()
        netns.popns()
        for name in (host, *guests.values()):
            _ip("netns", "del", name)


@pytest.fixture(params=["fake", pytest.param("bridge-nftables", marks=pytest.mark.live), pytest.param("bridge-iptables", marks=pytest.mark.live)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "fake":
        yield from _fake(tmp_path)
    else:
        yield from _bridge(request.param.removeprefix("bridge-"))


def test_every_registered_driver_is_on_trial() -> None:
    assert set(DOORS) == {"fake", "bridge"}


def told_of(asker: Asker) -> str:
    return f"{asker.bridge} {asker.ip} /x"


def test_from_nothing_to_nothing(bench: Bench) -> None:
    assert [bench.ask(each) for each in ALL] == ["", "", ""]
    for _ in range(2):
        bench.door.serve(ALL)
        assert [bench.ask(each) for each in ALL] == [told_of(each) for each in ALL]
    bench.door.serve(())
    assert [bench.ask(each) for each in ALL] == ["", "", ""]
    bench.door.serve(ALL)
    bench.door.close()
    assert [bench.ask(each) for each in ALL] == ["", "", ""]


def test_each_says_only_who_it_is(bench: Bench) -> None:
    bench.door.serve(ALL)
    for liar in ALL:
        for other in ALL:
            assert bench.ask(liar, other.ip) == (told_of(liar) if liar is other else "")


def test_only_those_it_was_told_of_last(bench: Bench) -> None:
    bench.door.serve(ALL)
    bench.door.serve((ONE, AWAY))
    assert [bench.ask(each) for each in ALL] == [told_of(ONE), "", told_of(AWAY)]
    bench.door.serve((TWO,))
    assert [bench.ask(each) for each in ALL] == ["", told_of(TWO), ""]


def test_an_address_is_the_next_ones_when_it_was_given_back(bench: Bench) -> None:
    bench.door.serve((ONE,))
    assert bench.ask(ONE) == told_of(ONE)
    heir = Asker(TWO.bridge, TWO.tap, TWO.mac, ONE.ip)
    bench.door.serve((heir,))
    assert (bench.ask(heir), bench.ask(ONE)) == (told_of(heir), "")


def test_a_bridge_that_is_not_there_yet_keeps_nobody_waiting(bench: Bench) -> None:
    bench.door.serve((*ALL, Asker("br-none", "tap9", "02:00:00:00:00:09", "10.9.0.2")))
    assert [bench.ask(each) for each in ALL] == [told_of(each) for each in ALL]
