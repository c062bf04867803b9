"""A node that is gateway of its own guests: real packets, a real DHCP client, the node's own drivers, in namespaces the test makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from luhyaapi.contracts.specs import Allow, Nic, NodeForward
from luhyaapi.contracts.vocabulary import Allowed, LinkState, NetworkMode, Protocol
from luhyaapi.edge.iptables import IptablesRules
from luhyaapi.edge.nft import NftRules
from luhyaapi.edge.plan import RulesPlan, Segment
from luhyaapi.errors import Refused
from nc.drivers.base import Guest, NodeEdge, tap_name
from nc.drivers.bridge_network import BridgeNetwork
from nc.drivers.metadata_base import Answer, Asker
from nc.drivers.metadata_bridge import BridgeMetadata
from nc.drivers.taps import Here
from tests.support.edge_bed import CLIENT, FAR, HOST, OTHER_CLIENT, OUT, PUBLIC, A, B, Bed

pytestmark = pytest.mark.live
ONE, TWO = "ins-0000000a", "ins-0000000b"
MACS = {A: "02:00:0a:09:00:0a", B: "02:00:0a:09:00:0b"}
IPS = {A: "10.9.0.10", B: "10.9.0.11"}
GATEWAY = "10.9.0.1"
SSH = NodeForward(instance=ONE, protocol=Protocol.TCP, port=20000, guest_port=22)


class NodeBed(Bed):
    """The host is a node; its guests come as guests do: as taps of their names, and ask for their addresses."""

    def enter(self, where: str, instance: str, bridge: str) -> None:
        tap = tap_name(instance, MACS[where])
        self.ip(where, "link", "delete", "eth0")
        self.ip(where, "link", "add", "eth0", "address", MACS[where], "type", "veth", "peer", "name", tap, "netns", self.names[HOST])
        self.ip(where, "link", "set", "eth0", "up")
        self.ip(HOST, "link", "set", tap, "master", bridge, "up")

    def lease(self, where: str, script: Path) -> str:
        done = self.run(where, "busybox", "udhcpc", "-i", "eth0", "-s", str(script), "-n", "-q", "-f", "-t", "3", "-T", "1", check=False)
        return next((line.split()[1] for line in done.text.splitlines() if line.startswith("GOT")), "")


@pytest.fixture
def bed() -> Iterator[NodeBed]:
    made = NodeBed()
    try:
        made.up()
        with made.inside(HOST):
            yield made
    finally:
        made.down()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "dhcp.sh"
    file.write_text('#!/bin/sh\n[ "$1" = bound ] || exit 0\necho GOT $ip\nip address replace $ip/$mask dev $interface\nip route replace default via $router\n')
    file.chmod(0o755)
    return file


@pytest.fixture
def node(tmp_path: Path) -> Iterator[BridgeNetwork]:
    made = BridgeNetwork("edutest0", rules=NftRules("nc-edutest0"), folder=tmp_path / "edge", here=lambda: Here(("wan0",), (PUBLIC,)))
    yield made
    made.guard(NodeEdge())


def nic(where: str, **over: object) -> Nic:
    fields = {"mac": MACS[where], "ip": IPS[where], "subnet": "10.9.0.0/24", "gateway": GATEWAY, "mode": NetworkMode.NODE, "segment": 9,
              "network": "net-00000009"}
    return Nic.model_validate(fields | over)


def edge(*forwards: NodeForward, allow: tuple[Allow, ...] = (), **over: object) -> NodeEdge:
    guests = {ONE: Guest("one", (nic(A, **over),)), TWO: Guest("two", (nic(B, **over),))}
    return NodeEdge(guests, forwards, {ONE: allow} if allow else {})


def entered(bed: NodeBed, node: BridgeNetwork, script: Path, wanted: NodeEdge) -> None:
    for instance in (ONE, TWO):
        node.plug(instance, wanted.guests[instance].nics[0])
    node.guard(wanted)
    for instance, where in ((ONE, A), (TWO, B)):
        bed.enter(where, instance, "edutest0-9")
        assert bed.lease(where, script) == IPS[where]


def test_its_guests_have_addresses_a_way_out_and_only_the_ports_that_were_asked_for(bed: NodeBed, node: BridgeNetwork, script: Path) -> None:
    entered(bed, node, script, edge(SSH))
    ssh, web, out = bed.listen(A, 22), bed.listen(A, 80), bed.listen(OUT, 80)
    assert bed.seen(ssh, OUT, PUBLIC, 20000) == CLIENT
    assert bed.seen(out, A, CLIENT, 80) == PUBLIC
    assert bed.seen(web, HOST, IPS[A], 80) == GATEWAY, "from the node itself a local desktop is reached"
    bed.ip(OUT, "route", "add", "10.9.0.0/24", "via", PUBLIC)
    assert bed.is_closed(OUT, IPS[A], 80)
    assert bed.is_closed(OUT, IPS[A], 22)
    assert bed.is_closed(OUT, PUBLIC, 20001)
    assert bed.seen(web, B, IPS[A], 80) == IPS[B]
    node.guard(edge(SSH.model_copy(update={"sources": (f"{OTHER_CLIENT}/32",)})))
    assert bed.is_closed(OUT, PUBLIC, 20000)
    assert bed.seen(ssh, OUT, PUBLIC, 20000, OTHER_CLIENT) == OTHER_CLIENT
    node.guard(edge(allow=(Allow(protocol=Allowed.TCP, first_port=80, last_port=80),)))
    assert bed.seen(web, OUT, IPS[A], 80) == CLIENT
    assert bed.is_closed(OUT, PUBLIC, 20000)


def test_isolated_guests_without_a_way_out_reach_nobody(bed: NodeBed, node: BridgeNetwork, script: Path) -> None:
    entered(bed, node, script, edge(SSH, isolated=True, way_out=False))
    ssh, _, _ = bed.listen(A, 22), bed.listen(OUT, 80), bed.listen(HOST, 8605)
    assert bed.seen(ssh, OUT, PUBLIC, 20000) == CLIENT
    assert bed.is_closed(B, IPS[A], 22)
    assert bed.is_closed(A, CLIENT, 80)
    assert bed.is_closed(A, GATEWAY, 8605)


def test_a_guest_takes_nobodys_address(bed: NodeBed, node: BridgeNetwork, script: Path) -> None:
    entered(bed, node, script, edge(SSH))
    bed.ip(B, "address", "add", f"{IPS[A]}/24", "dev", "eth0")
    bed.listen(OUT, 80)
    assert bed.is_closed(B, CLIENT, 80, IPS[A])
    bed.ip(B, "address", "delete", f"{IPS[A]}/24", "dev", "eth0")
    bed.ip(B, "link", "set", "eth0", "address", "02:00:0a:09:00:99")
    assert bed.is_closed(B, CLIENT, 80)


def test_the_last_guest_takes_bridge_and_server_with_it(bed: NodeBed, node: BridgeNetwork, script: Path, tmp_path: Path) -> None:
    entered(bed, node, script, edge(SSH))
    assert list((tmp_path / "edge").iterdir())
    for instance in (ONE, TWO):
        node.unplug(instance)
    node.guard(NodeEdge())
    assert list((tmp_path / "edge").iterdir()) == []
    assert "edutest0-9" not in bed.run(HOST, "ip", "link").text
    assert "forwards" in bed.dump(), "its tables stay, and are empty"
    assert "20000" not in bed.dump()


def test_of_the_campus_the_neighbours_are_judged(bed: NodeBed, script: Path, tmp_path: Path) -> None:
    bed.ip(HOST, "link", "set", "wire", "nomaster")
    node = BridgeNetwork("edutest0", rules=NftRules("nc-edutest0"), campus="wire", here=lambda: Here(("wan0",), (PUBLIC,)))
    router = "10.9.0.254"
    bed.ip(FAR, "address", "add", f"{router}/24", "dev", "eth0")
    cards = edge(mode=NetworkMode.CAMPUS, gateway=router)
    for instance in (ONE, TWO):
        assert node.plug(instance, cards.guests[instance].nics[0])
    node.guard(cards)
    for instance, where in ((ONE, A), (TWO, B)):
        bed.enter(where, instance, "edutest0-c")
        bed.ip(where, "address", "add", f"{IPS[where]}/24", "dev", "eth0")
        bed.ip(where, "route", "replace", "default", "via", router)
    web, far = bed.listen(A, 80), bed.listen(FAR, 80)
    assert bed.seen(far, A, router, 80) == IPS[A]
    assert bed.is_closed(FAR, IPS[A], 80), "a neighbour on the campus is outside"
    assert bed.is_closed(B, IPS[A], 80), "and so is another guest there, as is one on another node"
    node.guard(edge(mode=NetworkMode.CAMPUS, gateway=router, allow=(Allow(protocol=Allowed.TCP, first_port=80, last_port=80),)))
    assert bed.seen(web, FAR, IPS[A], 80) == router
    assert bed.is_closed(FAR, IPS[B], 80)
    with pytest.raises(Refused, match="not in the campus network"):
        BridgeNetwork("edutest0").plug(ONE, cards.guests[ONE].nics[0])


@pytest.mark.parametrize("rules", [NftRules, IptablesRules])
def test_a_node_that_stands_in_the_campus_itself_goes_on_reaching_it_by_its_own_card(bed: NodeBed, rules: type[NftRules | IptablesRules]) -> None:
    bed.ip(HOST, "link", "set", "wire", "nomaster")
    node = BridgeNetwork("edutest0", rules=rules("nc-edutest0"), campus="wire", here=lambda: Here(("wan0",), (PUBLIC,)))
    campus = {"mode": NetworkMode.CAMPUS, "subnet": "192.0.2.0/24", "gateway": "192.0.2.254"}
    cards = NodeEdge({ONE: Guest("one", (nic(A, ip="192.0.2.100", **campus),))})
    node.plug(ONE, cards.guests[ONE].nics[0])
    node.guard(cards)
    try:
        door, out = bed.listen(HOST, 8605), bed.listen(OUT, 80)
        assert bed.seen(door, OUT, PUBLIC, 8605) == CLIENT
        assert bed.seen(out, HOST, CLIENT, 80) == PUBLIC
        assert next(each.state for each in node.look(ONE, cards.guests[ONE].nics[0], cards, ()) if each.link == "guards") is LinkState.OK
        bed.ip(OUT, "address", "add", "192.0.2.100/24", "dev", "eth0")
        assert bed.is_closed(OUT, PUBLIC, 8605, "192.0.2.100"), "what bears the address of a guest and comes from elsewhere"
        bed.ip(FAR, "address", "add", "192.0.2.200/24", "dev", "eth0")
        assert bed.is_closed(FAR, PUBLIC, 8605), "its address is told by its own card alone"
    finally:
        node.guard(NodeEdge())


@pytest.mark.parametrize("routed", ["0", "1"])
@pytest.mark.parametrize("mode", [NetworkMode.NODE, NetworkMode.CLUSTER])
def test_a_guest_asks_about_itself_under_all_rules_of_its_host(bed: NodeBed, node: BridgeNetwork, mode: NetworkMode, routed: str) -> None:
    """Also where its node is its cluster's host, whose rules stand beside, and where bridged frames are judged as routed ones."""
    bed.sysctl(HOST, "bridge/bridge-nf-call-iptables", routed)
    wanted = edge(mode=mode)
    bridge = "edutest0-9"
    cluster = NftRules("cc-edutest0")
    if mode is NetworkMode.CLUSTER:
        bed.ip(HOST, "link", "add", bridge, "type", "bridge")
        bed.ip(HOST, "address", "add", f"{GATEWAY}/24", "dev", bridge)
        bed.ip(HOST, "link", "set", bridge, "up")
        segment = Segment(name="n9", bridge=bridge, subnets=("10.9.0.0/24",), gateway=True)
        cluster.apply(RulesPlan(name="cc-edutest0", uplinks=("wan0",), segments=(segment,)))
    door = BridgeMetadata(lambda bridge, ip, _question: Answer(200, f"{bridge} {ip}\n"))
    try:
        for instance in (ONE, TWO):
            node.plug(instance, wanted.guests[instance].nics[0])
        node.guard(wanted)
        door.serve([Asker(bridge, tap_name(instance, MACS[where]), MACS[where], IPS[where]) for instance, where in ((ONE, A), (TWO, B))])
        for instance, where in ((ONE, A), (TWO, B)):
            bed.enter(where, instance, bridge)
            bed.ip(where, "address", "add", f"{IPS[where]}/24", "dev", "eth0")
            bed.ip(where, "route", "replace", "default", "via", GATEWAY)
            said = bed.run(where, "curl", "-sS", "-m", "3", "http://169.254.169.254/", check=False).text
            assert said == f"{bridge} {IPS[where]}\n"
    finally:
        door.close()
        cluster.down()
