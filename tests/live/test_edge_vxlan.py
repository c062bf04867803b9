"""Segments that span three hosts, with real packets: who is told reaches, who is not told does not, and what is changed cuts nobody off."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator

import pytest
from pyroute2 import netns

from luhyaapi import process
from luhyaapi.contracts.specs import SegmentSpan
from luhyaapi.edge import vxlan
from luhyaapi.errors import Failed, Refused

pytestmark = pytest.mark.live
VNI = 0x123007
SILENCE_S = 0.5
"""Who is not reached within this is cut off: the neighbours answer at once."""
PATIENCE_S = 10
"""Who was asked for in vain is asked for again by the kernel only after a second."""
_IP_MTU_DISCOVER, _DO = 10, 2
WAYS = {n: f"192.0.2.{n}" for n in (1, 2, 3)}


def _span(local: str, *peers: str, vni: int = VNI) -> SegmentSpan:
    return SegmentSpan(segment=7, vni=vni, local=local, peers=peers)


class Lan:
    """Three hosts on one switch; each has a bridge with a guest of the segment behind it."""

    def __init__(self) -> None:
        self._tag = secrets.token_hex(3)
        self.switch = f"edu-vx-{self._tag}"

    def host(self, n: int) -> str:
        return f"{self.switch}-{n}"

    def guest(self, n: int) -> str:
        return f"{self.switch}-g{n}"

    def up(self) -> None:
        for name in self.names():
            process.run(["ip", "netns", "add", name], timeout_s=10)
        self.ip(self.switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        self.ip(self.switch, "link", "set", "br0", "up")
        for n, address in WAYS.items():
            self.ip(self.host(n), "link", "add", "eth0", "type", "veth", "peer", "name", f"port{n}", "netns", self.switch)
            self.ip(self.switch, "link", "set", f"port{n}", "master", "br0", "up")
            self.ip(self.host(n), "address", "add", f"{address}/24", "dev", "eth0")
            self.ip(self.host(n), "link", "set", "eth0", "up")
            self.ip(self.host(n), "link", "add", "seg", "type", "bridge", "forward_delay", "0")
            self.ip(self.host(n), "link", "set", "seg", "up")
            self.ip(self.guest(n), "link", "add", "eth0", "type", "veth", "peer", "name", "tap", "netns", self.host(n))
            self.ip(self.host(n), "link", "set", "tap", "master", "seg", "up")
            self.ip(self.guest(n), "address", "add", f"10.40.0.{n}/24", "dev", "eth0")
            self.ip(self.guest(n), "link", "set", "eth0", "up")

    def down(self) -> None:
        for name in self.names():
            process.run(["ip", "netns", "del", name], timeout_s=10, check=False)

    def names(self) -> list[str]:
        return [self.switch, *map(self.host, WAYS), *map(self.guest, WAYS)]

    def ip(self, where: str, *words: str) -> process.Finished:
        return process.run(["ip", "-n", where, *words], timeout_s=10)

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Calls are made and sockets are opened in that namespace."""
        netns.pushns(name)
        try:
            yield
        finally:
            netns.popns()

    def span(self, *hosts: int, vni: int = VNI) -> None:
        for n in hosts:
            with self.inside(self.host(n)):
                vxlan.ensure("seg", _span(WAYS[n], *(WAYS[other] for other in hosts if other != n), vni=vni))

    def reaches(self, one: int, other: int, size: int = 56) -> bool:
        """Whether a datagram of ``size`` bytes, not to be cut up, gets from the one guest to the other, sooner or later."""
        return self._arrives(one, other, size, PATIENCE_S)

    def is_cut(self, one: int, other: int, size: int = 56) -> bool:
        """Whether no such datagram gets there for a while."""
        return not self._arrives(one, other, size, SILENCE_S)

    def _arrives(self, one: int, other: int, size: int, within_s: float) -> bool:
        with contextlib.ExitStack() as opened:
            with self.inside(self.guest(other)):
                hears = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with self.inside(self.guest(one)):
                says = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            hears.bind((f"10.40.0.{other}", 0))
            hears.settimeout(SILENCE_S)
            says.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _DO)
            until = time.monotonic() + within_s
            while True:
                try:
                    says.sendto(bytes(size), hears.getsockname())
                    return len(hears.recv(2000)) == size
                except OSError:
                    if time.monotonic() >= until:
                        return False


@pytest.fixture
def lan() -> Iterator[Lan]:
    made = Lan()
    made.up()
    try:
        yield made
    finally:
        made.down()


def test_who_is_told_reaches_each_other_and_nobody_else(lan: Lan) -> None:
    assert lan.is_cut(1, 2)
    lan.span(1, 2)
    assert lan.reaches(1, 2)
    assert lan.reaches(2, 1)
    assert lan.is_cut(1, 3)
    lan.span(1, 2, 3)
    assert lan.reaches(3, 1)
    assert lan.reaches(3, 2)
    lan.span(1, 3)
    with lan.inside(lan.host(2)):
        vxlan.remove(VNI)
        vxlan.remove(VNI)
        assert vxlan.links() == {}
    assert lan.reaches(1, 3)
    assert lan.is_cut(1, 2)


def test_another_number_is_another_segment(lan: Lan) -> None:
    lan.span(1, 2)
    with lan.inside(lan.host(3)):
        vxlan.ensure("seg", _span(WAYS[3], WAYS[1], WAYS[2], vni=VNI + 1))
    assert lan.is_cut(3, 1)


def test_the_largest_frame_passes_whole_and_a_larger_one_is_refused_by_its_host(lan: Lan) -> None:
    lan.span(1, 2)
    for n in (1, 2):
        lan.ip(lan.guest(n), "link", "set", "eth0", "mtu", "1450")
    assert lan.reaches(1, 2, 1450 - 28)
    assert lan.is_cut(1, 2, 1451 - 28)


def test_what_is_there_is_found_and_left_alone_and_what_differs_is_mended(lan: Lan) -> None:
    lan.span(1, 2)
    wanted = _span(WAYS[1], WAYS[2])
    name = vxlan.device(VNI)
    with lan.inside(lan.host(1)):
        assert vxlan.is_there("seg", wanted)
        assert vxlan.links() == {VNI: "seg"}
        before = lan.ip(lan.host(1), "-o", "link", "show", name).text.split(":")[0]
        vxlan.ensure("seg", wanted)
        assert lan.ip(lan.host(1), "-o", "link", "show", name).text.split(":")[0] == before
        for harm in (("link", "set", name, "down"), ("link", "set", name, "nomaster"), ("link", "set", name, "mtu", "1200"), ("link", "del", name)):
            lan.ip(lan.host(1), *harm)
            assert not vxlan.is_there("seg", wanted) or "mtu" in harm
            vxlan.ensure("seg", wanted)
            assert vxlan.is_there("seg", wanted)
        process.run(["bridge", "fdb", "append", "00:00:00:00:00:00", "dev", name, "dst", "192.0.2.99"], timeout_s=5)
        assert not vxlan.is_there("seg", wanted)
        vxlan.ensure("seg", wanted)
        assert vxlan.is_there("seg", wanted)
    assert lan.reaches(1, 2)


def test_a_host_that_changed_its_address_is_reached_by_the_new_one(lan: Lan) -> None:
    lan.span(1, 2)
    lan.ip(lan.host(1), "address", "add", "192.0.2.101/24", "dev", "eth0")
    for n, local, peer in ((1, "192.0.2.101", WAYS[2]), (2, WAYS[2], "192.0.2.101")):
        with lan.inside(lan.host(n)):
            vxlan.ensure("seg", _span(local, peer))
    lan.ip(lan.host(1), "address", "del", f"{WAYS[1]}/24", "dev", "eth0")
    lan.ip(lan.host(1), "address", "replace", "192.0.2.101/24", "dev", "eth0")
    assert lan.reaches(1, 2)


def test_what_cannot_be_is_refused_and_leaves_nothing(lan: Lan) -> None:
    with lan.inside(lan.host(1)):
        for local, peers, code in ((WAYS[1], (WAYS[1],), "invalid"), (WAYS[1], (WAYS[2],) * 2, "invalid"), (WAYS[2], (), "not_found")):
            with pytest.raises(Refused) as e:
                vxlan.ensure("seg", _span(local, *peers))
            assert e.value.code == code
        with pytest.raises(Failed, match="could not be changed"):
            vxlan.ensure("nobridge", _span(WAYS[1]))
        vxlan.remove(VNI)
        lan.ip(lan.host(1), "link", "add", vxlan.device(VNI), "type", "bridge")
        with pytest.raises(Failed, match="somebody else's"):
            vxlan.ensure("seg", _span(WAYS[1]))
