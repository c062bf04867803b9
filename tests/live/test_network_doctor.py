"""What is broken between a guest and the outside is named: on a node and a cluster's host with a cable between them, by the drivers of both."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyroute2 import netns

from cc.drivers.base import EdgePlan
from cc.drivers.linux import LinuxEdge
from luhyaapi import process
from luhyaapi.contracts.commands import SegmentsSet
from luhyaapi.contracts.specs import Blob, ImageRef, LinkFacts, MachineSpec, Nic, SegmentSpan
from luhyaapi.contracts.vocabulary import InstanceState, LinkState, NetworkMode, Part, Protocol, Role
from luhyaapi.edge import links, routes, vxlan
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.edge.nft import NftRules
from luhyaapi.edge.plan import Alias, Forward, RulesPlan, Segment
from nc.drivers.base import Files, tap_name
from nc.drivers.bridge_network import BridgeNetwork
from nc.drivers.fake import FakeHypervisor
from nc.drivers.taps import Here
from nc.services.guards import Guards
from nc.services.probes import Probes
from nc.services.wanted import Wanted, WantedFiles

pytestmark = pytest.mark.live
NODE, CLUSTER, OUT, GUEST, LOCAL, STRAY = "node", "cluster", "out", "guest", "local", "stray"
SERVER, DESKTOP = "ins-0000000a", "ins-0000000b"
NICS = {
    SERVER: Nic(mac="02:00:0a:09:00:0a", ip="10.9.0.10", network="net-00000009", segment=9, subnet="10.9.0.0/24", gateway="10.9.0.1",
                subnet6="fd00:9::/64"),
    DESKTOP: Nic(mac="02:00:0a:08:00:0b", ip="10.8.0.11", network="net-00000008", segment=8, subnet="10.8.0.0/24", gateway="10.8.0.1",
                 mode=NetworkMode.NODE, subnet6="fd00:8::/64"),
}
TAPS = {instance: tap_name(instance, nic.mac) for instance, nic in NICS.items()}
WAYS = {NODE: "192.0.2.2", CLUSTER: "192.0.2.1"}
USERS, ELASTIC, BEYOND = "198.51.100.1", "198.51.100.50", "198.51.100.9"
VNI = 0x123009
FORWARD = Forward(protocol=Protocol.TCP, address=USERS, port=20000, to=NICS[SERVER].ip, to_port=22)


IMAGE = ImageRef(image="img-00000001", version=1, blobs=(Blob(part=Part.KERNEL, sha256="0" * 64, index="0" * 64, size=512),))


def _span(host: str) -> SegmentSpan:
    return SegmentSpan(segment=9, vni=VNI, local=WAYS[host], peers=tuple(way for each, way in WAYS.items() if each != host))


def _plan() -> EdgePlan:
    nic = NICS[SERVER]
    lease = EdgeLease(instance=SERVER, mac=nic.mac, ip=nic.ip, hostname="server")
    network = EdgeNetwork(bridge="edutest0-9", subnet=nic.subnet, gateway=nic.gateway, leases=(lease,), mtu=1450, span=_span(CLUSTER),
                          subnet6=nic.subnet6)
    segment = Segment(name="n9", bridge="edutest0-9", subnets=(nic.subnet, nic.subnet6), gateway=True)
    rules = RulesPlan(name="cc-edutest0", segments=(segment,), forwards=(FORWARD,), aliases=(Alias(address=ELASTIC, to=nic.ip),))
    return EdgePlan(networks=(network,), rules=rules)


@dataclass
class Cloud:
    """A node and a cluster's host, on the node a server in a network of the cluster and a desktop behind the node."""

    folder: Path
    tag: str = field(default_factory=lambda: secrets.token_hex(3))
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def name(self, where: str) -> str:
        return f"edu-{where}-{self.tag}"

    def ip(self, where: str, *words: str) -> None:
        process.run(["ip", "-n", self.name(where), *words], timeout_s=10)

    def run(self, where: str, *words: str) -> None:
        process.run(["ip", "netns", "exec", self.name(where), *words], timeout_s=10)

    @contextlib.contextmanager
    def inside(self, where: str) -> Iterator[None]:
        netns.pushns(self.name(where))
        try:
            yield
        finally:
            netns.popns()

    def cable(self, one: str, link: str, other: str, far: str, mac: str = "") -> None:
        self.ip(one, "link", "add", link, *(["address", mac] if mac else []), "type", "veth", "peer", "name", far, "netns", self.name(other))
        self.ip(one, "link", "set", link, "up")
        self.ip(other, "link", "set", far, "up")

    def up(self) -> None:
        for where in (NODE, CLUSTER, OUT, GUEST, LOCAL, STRAY):
            process.run(["ip", "netns", "add", self.name(where)], timeout_s=10)
            self.opened.callback(process.run, ["ip", "netns", "del", self.name(where)], timeout_s=10, check=False)
            self.ip(where, "link", "set", "lo", "up")
        self.cable(NODE, "eth0", CLUSTER, "eth0")
        self.cable(CLUSTER, "wan0", OUT, "eth0")
        for where, address, link in ((NODE, WAYS[NODE], "eth0"), (CLUSTER, WAYS[CLUSTER], "eth0"), (CLUSTER, USERS, "wan0"), (OUT, BEYOND, "eth0")):
            self.ip(where, "address", "add", f"{address}/24", "dev", link)
        self.routes()
        self.serve()
        self.enter()

    def routes(self) -> None:
        self.ip(NODE, "route", "replace", "default", "via", WAYS[CLUSTER])
        self.ip(CLUSTER, "route", "replace", "default", "via", BEYOND)

    def serve(self) -> None:
        with self.inside(CLUSTER):
            self.edge = LinuxEdge(self.folder / "cc", "edutest0", rules=NftRules("cc-edutest0"))
            self.edge.apply(_plan())
        (self.folder / "kernel").touch()
        with self.inside(NODE):
            self.network = BridgeNetwork(
                "edutest0", rules=NftRules("nc-edutest0"), folder=self.folder / "nc", here=lambda: Here(routes.outside(), WAYS[NODE]))
            wanted = WantedFiles(self.folder / "instances")
            self.hypervisor = FakeHypervisor(self.folder / "fake")
            self.guards = Guards(self.network, wanted, self.folder / "edge.json")
            self.probes = Probes(self.hypervisor, self.network, wanted, self.guards)
            self.guards.hear(SegmentsSet(number=1, segments=(_span(NODE),)))
            for instance, nic in NICS.items():
                spec = MachineSpec(instance=instance, name="lab", cpus=1, memory_mib=96, image=IMAGE, nics=(nic,))
                wanted.write(Wanted(spec=spec, state=InstanceState.RUNNING))
                self.network.plug(instance, nic)
                self.guards.stand(spec)
                self.hypervisor.define(spec, Files(console_log=self.folder / "console.log", kernel=self.folder / "kernel"))
                self.hypervisor.start(instance)
        self.opened.callback(self.end)

    def end(self) -> None:
        for where, folder in ((CLUSTER, "cc"), (NODE, "nc")):
            with self.inside(where):
                for file in (self.folder / folder).rglob("dnsmasq.pid"):
                    process.end(int(file.read_text()), 2)

    def enter(self) -> None:
        for where, instance in ((GUEST, SERVER), (LOCAL, DESKTOP)):
            nic = NICS[instance]
            self.cable(where, "eth0", NODE, TAPS[instance], nic.mac)
            self.ip(NODE, "link", "set", TAPS[instance], "master", f"edutest0-{nic.segment}")
            self.address(where, instance)

    def address(self, where: str, instance: str) -> None:
        for each in (f"{NICS[instance].ip}/24", f"{NICS[instance].ip6}/64"):
            self.ip(where, "address", "replace", each, "dev", "eth0", *(["nodad"] if ":" in each else []))

    def heal(self) -> None:
        """As the loops of both hosts do, and whoever put cables back."""
        for where, link in ((NODE, "eth0"), (CLUSTER, "eth0"), (CLUSTER, "wan0"), (GUEST, "eth0")):
            self.ip(where, "link", "set", link, "up")
        for instance, nic in NICS.items():
            self.ip(NODE, "link", "set", TAPS[instance], "master", f"edutest0-{nic.segment}", "up")
        self.ip(NODE, "link", "set", "edutest0-9", "up")
        self.address(GUEST, SERVER)
        self.routes()
        self.hypervisor.start(SERVER)
        with self.inside(CLUSTER):
            self.edge.apply(_plan())
        with self.inside(NODE):
            self.guards.renew()

    def look(self, instance: str) -> list[tuple[Role, LinkFacts]]:
        found = []
        with self.inside(NODE):
            found += [(Role.NC, each) for each in self.probes.look(instance)]
        if instance == SERVER:
            with self.inside(CLUSTER):
                found += [(Role.CC, each) for each in self.edge.look(NICS[SERVER], _plan(), (FORWARD,))]
        return links.walk(found)

    def first(self, instance: str) -> tuple[str, str]:
        found = links.first_broken(self.look(instance))
        return (found[0].value, found[1].link) if found else ("", "")

    def kill_dnsmasq(self, folder: str) -> None:
        for file in (self.folder / folder).rglob("dnsmasq.pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)

    def forget_host(self, folder: str) -> None:
        for file in (self.folder / folder).glob("**/hosts/*"):
            file.unlink()

    def double(self) -> None:
        self.cable(STRAY, "eth0", NODE, "stray0")
        self.ip(NODE, "link", "set", "stray0", "master", "edutest0-9")
        self.ip(STRAY, "address", "add", f"{NICS[SERVER].ip}/24", "dev", "eth0")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("doctor"))
    with made.opened:
        made.up()
        yield made


Hurt = Callable[[Cloud], None]


def ip(where: str, *words: str) -> Hurt:
    return lambda cloud: cloud.ip(where, *words)


VX, TAP = vxlan.device(VNI), TAPS[SERVER]
FAULTS: dict[str, tuple[Hurt, str, str]] = {
    "the guest is stopped": (lambda cloud: cloud.hypervisor.stop(SERVER, 0), "nc", "guest"),
    "its tap is gone down": (ip(NODE, "link", "set", TAP, "down"), "nc", "tap"),
    "its cable is pulled": (ip(GUEST, "link", "set", "eth0", "down"), "nc", "tap"),
    "its tap is in no bridge": (ip(NODE, "link", "set", TAP, "nomaster"), "nc", "tap"),
    "the bridge of the node is down": (ip(NODE, "link", "set", "edutest0-9", "down"), "nc", "bridge"),
    "rules flushed on the node": (lambda cloud: cloud.run(NODE, "nft", "flush", "ruleset"), "nc", "guards"),
    "VXLAN deleted on the node": (ip(NODE, "link", "delete", VX), "nc", "span"),
    "VXLAN down on the node": (ip(NODE, "link", "set", VX, "down"), "nc", "span"),
    "VXLAN peer missing": (
        lambda cloud: cloud.run(NODE, "bridge", "fdb", "del", "00:00:00:00:00:00", "dev", VX, "dst", WAYS[CLUSTER]), "nc", "span"),
    "the bridge of the cluster is down": (ip(CLUSTER, "link", "set", "edutest0-9", "down"), "cc", "bridge"),
    "no gateway address": (ip(CLUSTER, "address", "delete", "10.9.0.1/24", "dev", "edutest0-9"), "cc", "gateway"),
    "no gateway address of IPv6": (ip(CLUSTER, "address", "delete", "fd00:9::1/64", "dev", "edutest0-9"), "cc", "gateway"),
    "rules flushed on the cluster": (lambda cloud: cloud.run(CLUSTER, "nft", "flush", "ruleset"), "cc", "guards"),
    "VXLAN deleted on the cluster": (ip(CLUSTER, "link", "delete", VX), "cc", "span"),
    "dnsmasq killed": (lambda cloud: cloud.kill_dnsmasq("cc"), "cc", "dhcp"),
    "dnsmasq forgot the card": (lambda cloud: cloud.forget_host("cc"), "cc", "dhcp"),
    "the guest has no address": (ip(GUEST, "address", "flush", "dev", "eth0"), "nc", "answer"),
    "the cable between the hosts is cut": (ip(CLUSTER, "link", "set", "eth0", "down"), "cc", "answer"),
    "the elastic address is gone": (ip(CLUSTER, "address", "delete", f"{ELASTIC}/32", "dev", "wan0"), "cc", "elastic"),
    "the uplink is down": (ip(CLUSTER, "link", "set", "wan0", "down"), "cc", "uplink"),
    "no default route": (ip(CLUSTER, "route", "delete", "default"), "cc", "route"),
}
OF_NODES: dict[str, tuple[Hurt, str]] = {
    "no gateway address": (ip(NODE, "address", "delete", "10.8.0.1/24", "dev", "edutest0-8"), "gateway"),
    "no gateway address of IPv6": (ip(NODE, "address", "delete", "fd00:8::1/64", "dev", "edutest0-8"), "gateway"),
    "rules flushed": (lambda cloud: cloud.run(NODE, "nft", "flush", "ruleset"), "guards"),
    "dnsmasq killed": (lambda cloud: cloud.kill_dnsmasq("nc"), "dhcp"),
    "dnsmasq forgot the card": (lambda cloud: cloud.forget_host("nc"), "dhcp"),
    "the uplink is down": (ip(NODE, "link", "set", "eth0", "down"), "uplink"),
    "no default route": (ip(NODE, "route", "delete", "default"), "route"),
}


def test_where_nothing_is_broken_nothing_is_named(cloud: Cloud) -> None:
    cloud.heal()
    for instance in (SERVER, DESKTOP):
        found = cloud.look(instance)
        assert {each.state for _, each in found} <= {LinkState.OK, LinkState.SKIPPED}, found
    assert {each.link for _, each in cloud.look(SERVER)} == {
        "guest", "tap", "bridge", "gateway", "guards", "dhcp", "span", "address", "answer", "connections", "forwards", "elastic", "uplink", "route",
        "out"}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_broken_link_is_named(cloud: Cloud, fault: str) -> None:
    cloud.heal()
    hurt, host, link = FAULTS[fault]
    hurt(cloud)
    assert cloud.first(SERVER) == (host, link)


@pytest.mark.parametrize("fault", OF_NODES)
def test_behind_its_node_too(cloud: Cloud, fault: str) -> None:
    cloud.heal()
    hurt, link = OF_NODES[fault]
    hurt(cloud)
    assert cloud.first(DESKTOP) == ("nc", link)


def test_whoever_has_its_address_too_is_named_by_mac(cloud: Cloud) -> None:
    cloud.heal()
    cloud.double()
    found = links.first_broken(cloud.look(SERVER))
    cloud.ip(STRAY, "link", "delete", "eth0")
    assert found is not None
    assert (found[0], found[1].link) == (Role.NC, "address")
    assert found[1].why.endswith(f"which belongs to {NICS[SERVER].mac}")


def test_a_guest_that_is_silent_by_ipv6_alone_is_told_and_no_broken_link(cloud: Cloud) -> None:
    cloud.heal()
    by_ipv6 = (LinkState.OK, f"{NICS[SERVER].ip6}, {NICS[SERVER].mac}")
    assert [(each.state, each.why) for _, each in cloud.look(SERVER) if each.link == "answer"][1::2] == [by_ipv6] * 2
    cloud.ip(GUEST, "address", "delete", f"{NICS[SERVER].ip6}/64", "dev", "eth0")
    answers = [each.state for _, each in cloud.look(SERVER) if each.link == "answer"]
    assert answers == [LinkState.OK, LinkState.UNKNOWN] * 2
    assert cloud.first(SERVER) == ("", "")


def test_whoever_has_its_ipv6_address_too_is_named(cloud: Cloud) -> None:
    cloud.heal()
    cloud.double()
    cloud.ip(STRAY, "address", "flush", "dev", "eth0", "scope", "global")
    cloud.ip(STRAY, "address", "add", f"{NICS[SERVER].ip6}/64", "dev", "eth0", "nodad")
    cloud.ip(GUEST, "address", "delete", f"{NICS[SERVER].ip6}/64", "dev", "eth0")
    found = links.first_broken(cloud.look(SERVER))
    cloud.ip(STRAY, "link", "delete", "eth0")
    assert found is not None
    assert (found[1].link, found[1].what) == ("answer", "Somebody else has the guest's address")


def test_who_has_an_address_of_a_new_card_is_found_by_either_family(cloud: Cloud) -> None:
    cloud.heal()
    nic, other = NICS[SERVER], NICS[SERVER].model_copy(update={"ip": "10.9.0.77", "mac": "02:00:0a:09:00:4d"})
    with cloud.inside(CLUSTER):
        assert cloud.edge.answering([nic, other]) == {nic.ip: nic.mac}
        cloud.ip(GUEST, "address", "delete", f"{nic.ip}/24", "dev", "eth0")
        assert cloud.edge.answering([nic, other]) == {nic.ip: nic.mac}, "by its IPv6 address"
        cloud.ip(GUEST, "address", "flush", "dev", "eth0", "scope", "global")
        assert cloud.edge.answering([nic, other]) == {}


def test_looking_changes_nothing(cloud: Cloud) -> None:
    cloud.heal()
    cloud.ip(NODE, "link", "delete", VX)
    before = cloud.look(SERVER)
    assert cloud.look(SERVER) == before
    assert cloud.first(SERVER) == ("nc", "span")
