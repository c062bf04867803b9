"""The dnsmasq edge against real guests' DHCP clients, inside network namespaces the test makes."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from luhyaapi import clock, process, subnets
from luhyaapi.edge import dnsmasq
from luhyaapi.edge.dnsmasq import DnsmasqNetwork
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.errors import Failed

pytestmark = pytest.mark.live

A, B, C = "02:00:0a:4d:00:0a", "02:00:0a:4d:00:0b", "02:00:0a:4d:00:0c"
BRIDGE = "edutest0"


def ip(*words: str) -> None:
    process.run(["ip", *words], timeout_s=10)


def lease(mac: str, address: str, name: str = "guest") -> EdgeLease:
    return EdgeLease(instance=f"ins-{mac.replace(':', '')[-8:]}", mac=mac, ip=address, hostname=name)


def plan(*leases: EdgeLease, bridge: str = BRIDGE, subnet: str = "10.77.0.0/24", gateway: str = "10.77.0.1", **more: object) -> EdgeNetwork:
    return EdgeNetwork(bridge=bridge, subnet=subnet, gateway=gateway, leases=leases, **more)


class Guests:
    """A namespace with one card on the bridge, which asks for an address under any MAC."""

    def __init__(self, host: str, guest: str, script: Path) -> None:
        self.host, self.guest, self.script = host, guest, script

    def connect(self, bridge: str = BRIDGE) -> None:
        ip("-n", self.host, "link", "add", "tap0", "type", "veth", "peer", "name", "eth0", "netns", self.guest)
        ip("-n", self.host, "link", "set", "tap0", "master", bridge, "up")

    def ask(self, mac: str, tries: int = 1) -> list[str]:
        """Address, mask, router and host name that a DHCP client got; empty when nobody answered."""
        ip("-n", self.guest, "link", "set", "eth0", "down")
        ip("-n", self.guest, "link", "set", "eth0", "address", mac)
        ip("-n", self.guest, "link", "set", "eth0", "up")
        done = process.run(
            ["ip", "netns", "exec", self.guest, "busybox", "udhcpc", "-i", "eth0", "-s", self.script,
             "-n", "-q", "-f", "-t", str(tries), "-T", "1", "-A", "1"],
            timeout_s=15, check=False,
        )
        return next((line.split()[1:] for line in done.text.splitlines() if line.startswith("GOT")), [])

    def ask6(self, mac: str, folder: Path, patience_s: float = 6) -> str:
        """The IPv6 address that a DHCPv6 client was lent; empty when nobody answered."""
        ip("-n", self.guest, "link", "set", "eth0", "down")
        ip("-n", self.guest, "link", "set", "eth0", "address", mac)
        ip("-n", self.guest, "link", "set", "eth0", "up")
        script = folder / "dhcp6"
        script.write_text('#!/bin/sh\n[ "$reason" = BOUND6 ] && echo "$new_ip6_address" > "$OUT"\nexit 0\n')
        script.chmod(0o755)
        got = folder / f"got-{secrets.token_hex(3)}"
        files = [word for name in ("lf", "pf", "cf") for word in (f"-{name}", str(folder / f"dhclient.{name}"))]
        (folder / "dhclient.cf").touch()
        (folder / "dhclient.lf").unlink(missing_ok=True)
        until = clock.monotonic() + 5
        while "tentative" in process.run(["ip", "-n", self.guest, "-6", "address", "show", "dev", "eth0"], timeout_s=5).text and clock.monotonic() < until:
            clock.sleep(0.05)
        client = ["dhclient", "-6", "-1", "-d", "-q", "-sf", str(script), *files, "-e", f"OUT={got}", "eth0"]
        argv = ["ip", "netns", "exec", self.guest, "timeout", str(patience_s), *client]
        pid = process.spawn(argv, output=folder / "dhclient.log")
        until = clock.monotonic() + patience_s
        while not (got.exists() and got.read_text()) and process.alive(pid) and clock.monotonic() < until:
            clock.sleep(0.05)
        process.end(pid, 2)
        return got.read_text().strip() if got.exists() else ""

    def shows(self, *words: str) -> str:
        """What `ip -6` says of the guest's side."""
        return process.run(["ip", "-n", self.guest, "-6", *words], timeout_s=5).text

    def pings(self, address: str, mask: str) -> bool:
        """Whether the host's side answers a guest that took its address."""
        ip("-n", self.guest, "address", "replace", f"{address}/{mask}", "dev", "eth0")
        argv = ["ip", "netns", "exec", self.guest, "busybox", "ping", "-c", "1", "-W", "2", "10.77.0.1"]
        return process.run(argv, timeout_s=10, check=False).code == 0


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Guests]:
    tag = secrets.token_hex(3)
    host, guest = f"edu-host-{tag}", f"edu-guest-{tag}"
    script = tmp_path / "dhcp"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "GOT $ip $mask $router $hostname"\nexit 0\n')
    script.chmod(0o755)
    for name in (host, guest):
        ip("netns", "add", name)
    netns.pushns(host)
    try:
        ip("link", "set", "lo", "up")
        yield Guests(host, guest, script)
    finally:
        netns.popns()
        for name in (host, guest):
            ip("netns", "del", name)


@pytest.fixture
def edge(guests: Guests, tmp_path: Path) -> Iterator[DnsmasqNetwork]:
    driver = DnsmasqNetwork(tmp_path / "edge", BRIDGE)
    try:
        yield driver
    finally:
        driver.down()


def pid_of(tmp_path: Path) -> int:
    return int((tmp_path / "edge" / "dnsmasq.pid").read_text())


def test_known_card_gets_exactly_its_address_and_a_stranger_none(edge: DnsmasqNetwork, guests: Guests) -> None:
    edge.apply(plan())
    guests.connect()
    edge.apply(plan(lease(A, "10.77.0.10", "Web server"), lease(B, "10.77.0.200", "Web server")))
    assert guests.ask(A) == ["10.77.0.10", "24", "10.77.0.1", "web-server"]
    assert guests.pings("10.77.0.10", "24")
    assert guests.ask(B) == ["10.77.0.200", "24", "10.77.0.1", "web-server"]
    assert guests.ask(C) == []


def test_released_address_serves_its_new_card_only(edge: DnsmasqNetwork, guests: Guests) -> None:
    edge.apply(plan(lease(A, "10.77.0.10"), lease(C, "10.77.0.12")))
    guests.connect()
    assert guests.ask(A)[0] == "10.77.0.10"
    edge.apply(plan(lease(C, "10.77.0.12")))
    assert guests.ask(A) == []
    edge.apply(plan(lease(B, "10.77.0.10"), lease(C, "10.77.0.12")))
    assert guests.ask(B)[0] == "10.77.0.10"
    assert guests.ask(A) == []
    assert guests.ask(C)[0] == "10.77.0.12"


def test_lent_beside_what_is_served_it_has_its_address_at_once(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    assert not edge.lend((lease(A, "10.77.0.10"),)), "nothing is served yet"
    edge.apply(plan(lease(C, "10.77.0.12")))
    guests.connect()
    before = pid_of(tmp_path)
    assert edge.lend((lease(A, "10.77.0.10", "Lab PC 1"),))
    assert guests.ask(A)[::3] == ["10.77.0.10", "lab-pc-1"]
    assert edge.knows(A, "10.77.0.10")
    for other in (lease(B, "10.77.0.10"), lease(A, "10.77.0.11")):
        assert not edge.lend((other,)), "it is another's: only a new plan can say so"
    again = DnsmasqNetwork(tmp_path / "edge", BRIDGE)
    assert not again.lend((lease(B, "10.77.0.11"),)), "it does not know what the one before did"
    assert again.found() == plan(lease(C, "10.77.0.12"), lease(A, "10.77.0.10", "Lab PC 1"))
    again.apply(plan(lease(B, "10.77.0.10"), lease(C, "10.77.0.12")))
    assert (guests.ask(A), guests.ask(B)[0]) == ([], "10.77.0.10"), "an address that was lent changes its card as any other"
    assert pid_of(tmp_path) != before


@pytest.mark.parametrize("fault", ["killed", "bridge made anew"])
def test_nothing_is_lent_where_something_is_not_as_it_was(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path, fault: str) -> None:
    edge.apply(plan(lease(C, "10.77.0.12")))
    if fault == "killed":
        process.end(pid_of(tmp_path), 2)
    else:
        ip("link", "del", BRIDGE)
        ip("link", "add", BRIDGE, "type", "bridge")
    assert not edge.lend((lease(A, "10.77.0.10"),))


def test_a_half_line_of_what_was_lent_is_passed_over(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    edge.apply(plan(lease(C, "10.77.0.12")))
    edge.lend((lease(A, "10.77.0.10"),))
    with (tmp_path / "edge" / "lent.jsonl").open("a") as file:
        file.write('{"instance": "ins-')
    edge.apply(plan(lease(A, "10.77.0.10"), lease(C, "10.77.0.12")))
    assert edge.found() == plan(lease(A, "10.77.0.10"), lease(C, "10.77.0.12"))


def test_card_follows_its_lease_to_another_address(edge: DnsmasqNetwork, guests: Guests) -> None:
    edge.apply(plan(lease(A, "10.77.0.10"), lease(B, "10.77.0.11")))
    guests.connect()
    assert (guests.ask(A)[0], guests.ask(B)[0]) == ("10.77.0.10", "10.77.0.11")
    edge.apply(plan(lease(A, "10.77.0.11"), lease(B, "10.77.0.10")))
    assert (guests.ask(A)[0], guests.ask(B)[0]) == ("10.77.0.11", "10.77.0.10")


def test_only_a_changed_card_costs_a_restart(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    edge.apply(plan(lease(A, "10.77.0.10")))
    first = pid_of(tmp_path)
    edge.apply(plan(lease(A, "10.77.0.10"), lease(B, "10.77.0.11")))
    edge.apply(plan(lease(B, "10.77.0.11")))
    edge.apply(plan(lease(A, "10.77.0.10"), lease(B, "10.77.0.11")))
    assert pid_of(tmp_path) == first
    edge.apply(plan(lease(C, "10.77.0.10")))
    assert pid_of(tmp_path) != first
    assert not process.alive(first)


@pytest.mark.parametrize("name", ["ignore", "infinite", "10m", "42", "", "---", "a,b\n02:00:00:00:00:01,10.77.0.9", "x" * 300])
def test_no_name_of_a_guest_is_an_order_to_dnsmasq(edge: DnsmasqNetwork, guests: Guests, name: str) -> None:
    edge.apply(plan(lease(A, "10.77.0.10", name)))
    guests.connect()
    address, _mask, _router, told = guests.ask(A)
    assert address == "10.77.0.10"
    assert 0 < len(told) < 64


def test_dead_dnsmasq_runs_again_after_the_next_apply(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    wanted = plan(lease(A, "10.77.0.10"))
    edge.apply(wanted)
    guests.connect()
    os.kill(pid_of(tmp_path), signal.SIGKILL)
    until = clock.monotonic() + 5
    while edge.found() is not None and clock.monotonic() < until:
        clock.sleep(0.01)
    assert edge.found() is None
    edge.apply(wanted)
    assert edge.found() == wanted
    assert guests.ask(A)[0] == "10.77.0.10"


def test_next_driver_takes_over_what_runs(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    wanted = plan(lease(A, "10.77.0.10"))
    edge.apply(wanted)
    again = DnsmasqNetwork(tmp_path / "edge", BRIDGE)
    before = pid_of(tmp_path)
    again.apply(wanted)
    assert (pid_of(tmp_path), again.found()) == (before, wanted)
    again.apply(plan(lease(B, "10.77.0.10")))
    guests.connect()
    assert guests.ask(B)[0] == "10.77.0.10"


def test_lost_pid_file_leaves_no_second_dnsmasq(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    edge.apply(plan(lease(A, "10.77.0.10")))
    first = pid_of(tmp_path)
    (tmp_path / "edge" / "dnsmasq.pid").unlink()
    edge.apply(plan(lease(A, "10.77.0.10")))
    assert not process.alive(first)
    assert process.alive(pid_of(tmp_path))


def test_pid_file_that_names_a_stranger_ends_nobody(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    folder.mkdir()
    (folder / "dnsmasq.pid").write_text(f"{os.getpid()}\n")
    edge.apply(plan(lease(A, "10.77.0.10")))
    assert pid_of(tmp_path) != os.getpid()


@pytest.mark.parametrize("damage", ["", "{", '{"served": 3}', "[]"])
def test_damaged_notes_are_made_anew(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path, damage: str) -> None:
    wanted = plan(lease(A, "10.77.0.10"))
    edge.apply(wanted)
    for name in ("plan.json", "running.json"):
        (tmp_path / "edge" / name).write_text(damage)
    (tmp_path / "edge" / "hosts" / "02-00-00-00-00-99").write_text("rubbish\n")
    edge.apply(wanted)
    assert edge.found() == wanted


def test_removal_cut_in_the_middle_is_ended_by_the_next_apply(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    edge.apply(plan(lease(A, "10.77.0.10"), lease(C, "10.77.0.12")))
    guests.connect()
    assert guests.ask(A)[0] == "10.77.0.10"
    (tmp_path / "edge" / "running.json").unlink()
    (tmp_path / "edge" / "hosts" / A.replace(":", "-")).unlink()
    edge.apply(plan(lease(C, "10.77.0.12")))
    assert guests.ask(A) == []
    edge.apply(plan(lease(B, "10.77.0.10"), lease(C, "10.77.0.12")))
    assert guests.ask(B)[0] == "10.77.0.10"


def test_guests_cannot_announce_themselves_as_the_hosts_router(edge: DnsmasqNetwork, guests: Guests) -> None:
    edge.apply(plan())
    guests.connect()
    assert process.run(["ip", "-6", "address", "show", "dev", BRIDGE], timeout_s=5).text == ""


def test_bridge_removed_behind_our_back_is_made_and_served_again(edge: DnsmasqNetwork, guests: Guests) -> None:
    wanted = plan(lease(A, "10.77.0.10"))
    edge.apply(wanted)
    ip("link", "del", BRIDGE)
    assert edge.found() is None
    edge.apply(wanted)
    guests.connect()
    assert guests.ask(A)[0] == "10.77.0.10"


def test_network_may_move_to_another_subnet_and_bridge(edge: DnsmasqNetwork, guests: Guests) -> None:
    edge.apply(plan(lease(A, "10.77.0.10")))
    moved = plan(lease(A, "10.78.0.10"), subnet="10.78.0.0/24", gateway="10.78.0.1")
    edge.apply(moved)
    guests.connect()
    assert guests.ask(A)[:3] == ["10.78.0.10", "24", "10.78.0.1"]
    renamed = plan(lease(A, "10.78.0.10"), bridge="edutest1", subnet="10.78.0.0/24", gateway="10.78.0.1")
    edge.apply(renamed)
    assert edge.found() == renamed
    ip("link", "set", "dev", "tap0", "nomaster")
    ip("link", "set", "dev", "tap0", "master", "edutest1")
    assert guests.ask(A)[0] == "10.78.0.10"
    assert process.run(["ip", "link", "show", BRIDGE], timeout_s=5, check=False).code != 0


def test_guests_coming_and_going_do_not_change_the_gateways_card(edge: DnsmasqNetwork, guests: Guests) -> None:
    edge.apply(plan())
    before = process.run(["ip", "-br", "link", "show", BRIDGE], timeout_s=5).text.split()[2]
    guests.connect()
    ip("link", "set", "tap0", "address", "00:00:00:00:00:01")
    assert process.run(["ip", "-br", "link", "show", BRIDGE], timeout_s=5).text.split()[2] == before


@pytest.mark.parametrize("then", ["all goes well", "something fails"])
def test_a_bridge_that_a_node_makes_in_the_same_moment_is_shared_and_never_removed(edge: DnsmasqNetwork, guests: Guests, monkeypatch, then: str) -> None:
    """The node may have a guest on it by then."""
    real, seen = dnsmasq._look, []

    def late(device: str):
        seen.append(real(device))
        if len(seen) == 1:
            ip("link", "add", BRIDGE, "type", "bridge")
            guests.connect()
        return seen[-1]

    def no(*_args, **_more):
        raise Failed("network", "The kernel said no")

    monkeypatch.setattr(dnsmasq, "_look", late)
    if then == "something fails":
        with monkeypatch.context() as patch:
            patch.setattr(dnsmasq, "_set_ipv6", no)
            with pytest.raises(Failed):
                edge.apply(plan(lease(A, "10.77.0.10")))
        assert real(BRIDGE) is not None
    edge.apply(plan(lease(A, "10.77.0.10")))
    assert guests.ask(A)[:1] == ["10.77.0.10"]
    shown = process.run(["ip", "link", "show", BRIDGE], timeout_s=5).text
    assert subnets.bridge_mac("10.77.0.1") in shown


def test_down_leaves_nothing(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    edge.apply(plan(lease(A, "10.77.0.10")))
    guests.connect()
    pid = pid_of(tmp_path)
    edge.down()
    assert not process.alive(pid)
    assert not (tmp_path / "edge").exists()
    assert BRIDGE not in process.run(["ip", "link", "show"], timeout_s=5).text
    assert edge.found() is None
    edge.down()


@pytest.mark.parametrize("strange", [
    ["link", "add", BRIDGE, "type", "veth", "peer", "name", "peer0"],
    ["link", "add", BRIDGE, "type", "bridge"],
])
def test_somebody_elses_device_is_neither_used_nor_removed(edge: DnsmasqNetwork, guests: Guests, strange: list[str]) -> None:
    ip(*strange)
    ip("address", "add", "10.99.0.1/24", "dev", BRIDGE)
    with pytest.raises(Failed, match="somebody else") as caught:
        edge.apply(plan())
    assert caught.value.code == "network"
    edge.down()
    assert "10.99.0.1/24" in process.run(["ip", "address", "show", BRIDGE], timeout_s=5).text


def test_second_cloud_does_not_take_the_bridge_of_the_first(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    edge.apply(plan())
    other = DnsmasqNetwork(tmp_path / "other", BRIDGE)
    with pytest.raises(Failed, match="somebody else"):
        other.apply(plan())
    other.down()
    assert edge.found() == plan()


def test_network_the_host_is_already_in_is_refused(edge: DnsmasqNetwork, guests: Guests) -> None:
    ip("link", "add", "wan0", "type", "bridge")
    ip("address", "add", "10.77.0.77/16", "dev", "wan0")
    with pytest.raises(Failed, match="in use") as caught:
        edge.apply(plan())
    assert "wan0" in caught.value.why
    assert BRIDGE not in process.run(["ip", "link", "show"], timeout_s=5).text


def test_dnsmasq_that_cannot_start_says_why_and_starts_later(edge: DnsmasqNetwork, guests: Guests) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other_server:
        other_server.bind(("0.0.0.0", 67))
        with pytest.raises(Failed, match="in use") as caught:
            edge.apply(plan())
        assert caught.value.code == "network"
        assert edge.found() is None
    edge.apply(plan())
    assert edge.found() == plan()


def test_files_that_cannot_be_written_are_trouble_of_the_host(guests: Guests, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match="could not be written") as caught:
        DnsmasqNetwork(tmp_path / "file" / "edge", BRIDGE).apply(plan())
    assert caught.value.code == "network"
    assert BRIDGE not in process.run(["ip", "link", "show"], timeout_s=5).text


def test_two_clusters_with_one_network_in_one_lan_do_not_meet(guests: Guests, tmp_path: Path) -> None:
    ip("-n", guests.host, "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", guests.guest)
    ip("-n", guests.guest, "address", "add", "10.77.0.1/24", "dev", "eth0")
    ip("-n", guests.guest, "link", "set", "eth0", "up")
    edge = DnsmasqNetwork(tmp_path / "edge", BRIDGE, "lan0")
    try:
        with pytest.raises(Failed, match=r"Another cluster has this network: 10\.77\.0\.1 is its gateway") as caught:
            edge.apply(plan(lease(A, "10.77.0.10")))
        assert "behind lan0 answers for it" in caught.value.why
        assert "master" not in process.run(["ip", "link", "show", "lan0"], timeout_s=5).text
        assert edge.found() is None
        ip("-n", guests.guest, "address", "del", "10.77.0.1/24", "dev", "eth0")
        edge.apply(plan(lease(A, "10.77.0.10")))
        assert guests.ask(A)[0] == "10.77.0.10"
    finally:
        edge.down()


def names(guests: Guests, *asked: str) -> list[str]:
    """What the gateway says of these names, "" where it knows none."""
    found = []
    for name in asked:
        argv = ["ip", "netns", "exec", guests.guest, "busybox", "nslookup", "-type=a", name, "10.77.0.1"]
        said = process.run(argv, timeout_s=10, check=False).text.partition("Name:")[2]
        found.append(next((line.split()[-1] for line in said.splitlines() if line.startswith("Address")), ""))
    return found


def test_guests_find_each_other_by_name_as_they_come_and_go(edge: DnsmasqNetwork, guests: Guests) -> None:
    edge.apply(plan(lease(A, "10.77.0.10", "Lab PC 1")))
    guests.connect()
    address, mask, *_ = guests.ask(A)
    ip("-n", guests.guest, "address", "replace", f"{address}/{mask}", "dev", "eth0")
    assert names(guests, "lab-pc-1.edu.internal", "lab-pc-1", "two.edu.internal") == ["10.77.0.10", "10.77.0.10", ""]
    edge.apply(plan(lease(A, "10.77.0.10", "Lab PC 1"), lease(B, "10.77.0.11", "two")))
    until = clock.monotonic() + 5
    while names(guests, "two.edu.internal") != ["10.77.0.11"] and clock.monotonic() < until:
        clock.sleep(0.05)
    edge.apply(plan(lease(A, "10.77.0.10", "Lab PC 1")))
    while names(guests, "two.edu.internal") != [""] and clock.monotonic() < until:
        clock.sleep(0.05)
    assert names(guests, "lab-pc-1", "two.edu.internal") == ["10.77.0.10", ""]


def test_a_server_of_names_on_the_host_keeps_its_port_and_guests_their_addresses(edge: DnsmasqNetwork, guests: Guests) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.bind(("0.0.0.0", 53))
        edge.apply(plan(lease(A, "10.77.0.10")))
        guests.connect()
        assert guests.ask(A)[:1] == ["10.77.0.10"]
        assert edge.found() == plan(lease(A, "10.77.0.10"))


def test_in_a_network_of_others_only_the_leased_are_answered(tmp_path: Path, guests: Guests) -> None:
    ip("-n", guests.host, "link", "add", "campus0", "type", "bridge")
    ip("-n", guests.host, "link", "set", "campus0", "up")
    guests.connect("campus0")
    edge = DnsmasqNetwork(tmp_path / "campus", f"{BRIDGE}-3")
    wanted = plan(lease(A, "10.77.0.10"), gateway="10.77.0.254", bridge=f"{BRIDGE}-3").model_copy(update={"shared": True})
    try:
        with pytest.raises(Failed, match="This host has no address"):
            edge.apply(wanted)
        ip("-n", guests.host, "address", "add", "10.77.0.5/24", "dev", "campus0")
        edge.apply(wanted)
        assert edge.found() == wanted
        address, _mask, router, *_ = guests.ask(A)
        assert (address, router) == ("10.77.0.10", "10.77.0.254")
        assert guests.ask(B) == []
        assert f"{BRIDGE}-3" not in process.run(["ip", "link"], timeout_s=10).text
    finally:
        edge.down()
    assert "10.77.0.5" in process.run(["ip", "address"], timeout_s=10).text


SUBNET6, GATEWAY6 = "fd00:77:0:1::/64", "fd00:77:0:1::1"


def test_a_card_is_lent_the_ipv6_address_of_its_mac_and_told_the_way(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    wanted = plan(lease(A, "10.77.0.10", "web"), subnet6=SUBNET6)
    edge.apply(wanted)
    guests.connect()
    assert guests.ask6(A, tmp_path) == subnets.ip6_of(SUBNET6, A)
    assert guests.ask6(C, tmp_path, 2.5) == "", "a stranger"
    assert guests.ask(A)[:3] == ["10.77.0.10", "24", "10.77.0.1"], "and IPv4 as before"
    until = clock.monotonic() + 5
    while "default" not in guests.shows("route") and clock.monotonic() < until:
        clock.sleep(0.05)
    assert f"default via {subnets.link_local(subnets.bridge_mac('10.77.0.1'))}" in guests.shows("route")
    assert SUBNET6 in guests.shows("route"), "the prefix is on the link"
    assert "fd00:" not in guests.shows("address"), "and no card makes itself an address"
    assert edge.found() == wanted
    assert edge.knows(A, "10.77.0.10")


def test_ipv6_comes_and_goes_with_the_plan(edge: DnsmasqNetwork, guests: Guests, tmp_path: Path) -> None:
    edge.apply(plan(lease(A, "10.77.0.10")))
    guests.connect()
    assert guests.ask6(A, tmp_path, 2.5) == ""
    edge.apply(plan(lease(A, "10.77.0.10"), subnet6=SUBNET6))
    assert guests.ask6(A, tmp_path) == subnets.ip6_of(SUBNET6, A)
    process.run(["ip", "address", "del", f"{GATEWAY6}/64", "dev", BRIDGE], timeout_s=5)
    assert edge.found() is None, "the gateway lost its address"
    edge.apply(wanted := plan(lease(A, "10.77.0.10"), subnet6=SUBNET6, way_out=False))
    assert edge.found() == wanted
    edge.apply(plan(lease(A, "10.77.0.10")))
    assert process.run(["ip", "-6", "address", "show", "dev", BRIDGE], timeout_s=5).text == ""
