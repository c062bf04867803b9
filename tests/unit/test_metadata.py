"""What a guest is told of itself, and that it is told of nobody else: layouts, tokens, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from luhyaapi import clock
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import NetworkMode, Part
from luhyaapi.errors import Failed
from nc.drivers.base import tap_name
from nc.drivers.metadata_base import Answer, Question
from nc.drivers.metadata_fake import FakeMetadata
from nc.services import metadata_tree
from nc.services.metadata import TOKEN_PATH, Metadata

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGEOw3wdmPDrr5GlHZ3cLmBEvnqXlsNzRQCk7YcaBLtQ me@here"
SECOND = KEY.replace("me@here", "you@there")
GIVEN = "#!/bin/sh\necho ä\n"
HOME, AWAY = Nic(mac="52:54:00:00:00:0a", ip="10.0.0.10"), Nic(mac="52:54:00:00:00:0b", ip="10.7.0.10", network="net-00000007", segment=7)
TTL, TOKEN = "x-aws-ec2-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token"


def spec(instance: str = "ins-0000000a", **over: Any) -> MachineSpec:
    blob = Blob(part=Part.DISK, sha256="a" * 64, index="b" * 64, size=1, virtual_size=1)
    one: dict[str, Any] = {
        "instance": instance, "name": "Lab_1", "cpus": 2, "memory_mib": 512, "image": ImageRef(image="img-00000001", version=3, blobs=(blob,)),
        "nics": (HOME, AWAY), "ssh_keys": (KEY, SECOND), "user_data": GIVEN,
    }
    return MachineSpec(**one | over)


OTHER = spec("ins-0000000c", nics=(HOME.model_copy(update={"mac": "52:54:00:00:00:0c", "ip": "10.0.0.12"}),), user_data="", ssh_keys=())
TREE = metadata_tree.tree(spec(), HOME, "cc-00000001")
MAC = f"network/interfaces/macs/{HOME.mac}"
EC2 = {
    "": "1.0\n2009-04-04\nlatest\nopenstack", "latest": "meta-data/\nuser-data", "latest/user-data": GIVEN, "1.0/user-data": GIVEN,
    "latest/meta-data/": "ami-id\nami-launch-index\nhostname\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nnetwork/\nplacement/\npublic-keys/",
    "latest/meta-data/instance-id": "ins-0000000a", "2009-04-04/meta-data/instance-id": "ins-0000000a",
    "latest/meta-data/hostname": "lab-1", "latest/meta-data/local-ipv4": "10.0.0.10", "latest/meta-data/mac": HOME.mac,
    "latest/meta-data/ami-id": "img-00000001.3", "latest/meta-data/placement/availability-zone": "cc-00000001",
    "latest/meta-data/public-keys/": "0=key-0\n1=key-1", "latest/meta-data/public-keys/0": "openssh-key",
    "latest/meta-data/public-keys/1/openssh-key": SECOND + "\n", "latest/meta-data/network": "interfaces/",
    "latest/meta-data/network/interfaces/macs/": f"{HOME.mac}/\n{AWAY.mac}/",
    f"latest/meta-data/{MAC}": "device-number\nlocal-hostname\nlocal-ipv4s\nmac",
    f"latest/meta-data/{MAC.replace(HOME.mac, AWAY.mac)}/local-ipv4s": "10.7.0.10",
}


@pytest.mark.parametrize("path", EC2)
def test_as_ec2_has_it(path: str) -> None:
    for asked in (f"/{path}", f"//{path}", f"/{path}/" if path else "/"):
        assert metadata_tree.read(TREE, asked) == EC2[path]


@pytest.mark.parametrize("path", ["/latest/meta-data/none", "/2008-01-01", "/latest/../latest", "/latest/meta", "/latest/dynamic", "/openstack/1"])
def test_nothing_is_elsewhere(path: str) -> None:
    assert metadata_tree.read(TREE, path) is None


def test_without_user_data_and_keys_there_are_none() -> None:
    tree = metadata_tree.tree(OTHER, OTHER.nics[0], "")
    for path in ("/latest/user-data", "/latest/meta-data/public-keys/", "/openstack/latest/user_data"):
        assert metadata_tree.read(tree, path) is None
    assert metadata_tree.read(tree, "/latest") == "meta-data/"


def test_as_openstack_has_it() -> None:
    assert metadata_tree.read(TREE, "/openstack") == "2012-08-10\n2015-10-15\n2018-08-27\nlatest"
    names = (metadata_tree.read(TREE, "/openstack/latest") or "").splitlines()
    assert names == ["meta_data.json", "network_data.json", "user_data", "vendor_data.json", "vendor_data2.json"]
    meta = json.loads(TREE["/openstack/latest/meta_data.json"])
    assert (meta["uuid"], meta["name"], meta["hostname"], meta["availability_zone"]) == ("ins-0000000a", "Lab_1", "lab-1", "cc-00000001")
    assert meta["public_keys"] == {"key-0": KEY, "key-1": SECOND}
    assert meta["keys"][1] == {"name": "key-1", "type": "ssh", "data": SECOND}
    assert TREE["/openstack/2018-08-27/user_data"] == GIVEN
    network = json.loads(TREE["/openstack/latest/network_data.json"])
    assert [each["ethernet_mac_address"] for each in network["links"]] == [HOME.mac, AWAY.mac]
    assert [(each["link"], each["type"]) for each in network["networks"]] == [("link0", "ipv4_dhcp"), ("link1", "ipv4_dhcp")]
    assert json.loads(TREE["/openstack/latest/vendor_data.json"]) == {}


# ---- the service


class Node:
    """One service over the fake door; ``ask`` speaks as a card of an instance."""

    def __init__(self) -> None:
        doors: list[FakeMetadata] = []

        def door(told: Any) -> FakeMetadata:
            doors.append(FakeMetadata(told))
            return doors[0]

        self.service = Metadata(door, lambda number: f"br-{number}", "cc-00000001")
        self.door = doors[0]

    def ask(self, of: MachineSpec, path: str, method: str = "GET", nic: int = 0, ip: str = "", **headers: str) -> Answer | None:
        card = of.nics[nic]
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.door.ask(tap_name(of.instance, card.mac), ip or card.ip, Question(method, path, sent))


@pytest.fixture
def node() -> Node:
    made = Node()
    made.service.serve([spec(), OTHER])
    return made


def text(answer: Answer | None) -> str:
    assert answer is not None
    assert answer.status == 200, answer
    return answer.text


def test_each_is_told_of_itself_by_each_card(node: Node) -> None:
    assert text(node.ask(spec(), "/latest/meta-data/instance-id")) == "ins-0000000a"
    assert text(node.ask(spec(), "/latest/meta-data/local-ipv4", nic=1)) == AWAY.ip
    assert text(node.ask(OTHER, "/latest/meta-data/instance-id")) == "ins-0000000c"
    assert node.ask(OTHER, "/latest/meta-data/instance-id", ip=HOME.ip) is None


def test_who_is_not_known_finds_nothing(node: Node) -> None:
    assert node.service.answer("br-7", HOME.ip, Question("GET", "/latest/meta-data/instance-id")).status == 404
    assert node.service.answer("br-0", "10.0.0.99", Question("GET", "/")).status == 404
    node.service.drop("ins-0000000c")
    node.service.drop("ins-0000000c")
    assert node.ask(OTHER, "/") is None
    assert node.service.answer("br-0", OTHER.nics[0].ip, Question("GET", "/")).status == 404


def test_what_is_otherwise_is_told_otherwise(node: Node) -> None:
    node.service.put(spec(name="other"))
    assert text(node.ask(spec(), "/latest/meta-data/hostname")) == "other"
    node.service.serve([OTHER])
    assert node.ask(spec(), "/") is None
    node.service.close()
    assert node.ask(OTHER, "/") is None


def test_kinds_of_texts_and_methods(node: Node) -> None:
    for path, kind in (("/openstack/latest/meta_data.json", "application/json"), ("/latest/user-data", "text/plain; charset=utf-8")):
        answer = node.ask(spec(), path)
        assert answer is not None
        assert answer.kind == kind
    for method in ("POST", "PUT", "DELETE", "TRACE"):
        answer = node.ask(spec(), "/latest/user-data", method)
        assert answer is not None
        assert (answer.status, answer.text) == (405, "")


def test_a_token_is_the_guests_own_and_ends(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    token = node.ask(spec(), TOKEN_PATH, "PUT", **{TTL: "60"})
    assert token is not None
    assert token.headers[TTL] == "60"
    good = {TOKEN: text(token)}
    assert text(node.ask(spec(), "/latest/meta-data/mac", **good)) == HOME.mac
    assert text(node.ask(spec(), "/latest/meta-data/mac", nic=1, **good)) == AWAY.mac

    def status(of: MachineSpec, given: str) -> int:
        answer = node.ask(of, "/latest/meta-data/mac", **{TOKEN: given})
        assert answer is not None
        assert answer.status == 200 or not answer.text
        return answer.status

    assert status(OTHER, text(token)) == 401
    for forged in ("", "x", "ä", "AAAA", text(token)[:-4], "B" + text(token)[1:], text(token) + "AAAA"):
        assert status(spec(), forged) == 401, forged
    after = Node()
    after.service.serve([spec()])
    node_before, node = node, after
    assert status(spec(), text(token)) == 401, "a token of another process"
    node = node_before
    later = clock.now() + 61
    monkeypatch.setattr(clock, "now", lambda: later)
    assert status(spec(), text(token)) == 401


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "1.5", "x", "9" * 20, "²"])
def test_a_token_has_its_bounds(node: Node, ttl: str) -> None:
    answer = node.ask(spec(), TOKEN_PATH, "PUT", **({TTL: ttl} if ttl else {}))
    assert answer is not None
    assert answer.status == 400
    answer = node.ask(spec(), TOKEN_PATH, "GET", **{TTL: "60"})
    assert answer is not None
    assert answer.status == 405


@pytest.mark.parametrize(("method", "path"), [("GET", "/latest/user-data"), ("PUT", TOKEN_PATH), ("GET", "/openstack")])
def test_what_was_passed_on_is_refused(node: Node, method: str, path: str) -> None:
    answer = node.ask(spec(), path, method, **{"x-forwarded-for": "", TTL: "60"})
    assert answer is not None
    assert answer.status == 403
    assert GIVEN not in answer.text


def test_what_cannot_be_served_is_logged_once_and_stops_nobody(node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_askers: object) -> None:
        raise Failed("network", "No way", "for a test")

    monkeypatch.setattr(node.door, "serve", broken)
    node.service.put(spec(name="other"))
    node.service.put(spec(name="another"))
    assert [record.levelname for record in caplog.records].count("WARNING") <= 1
    monkeypatch.undo()
    node.service.put(spec(name="third"))
    assert text(node.ask(spec(), "/latest/meta-data/hostname")) == "third"


def test_user_data_is_in_no_picture_of_a_machine() -> None:
    assert GIVEN not in repr(spec())
    assert "echo" not in str(spec())


def test_of_ipv6_it_is_told_its_address_and_who_lends_it() -> None:
    home, campus = HOME.model_copy(update={"subnet6": "fd00:10::/64"}), AWAY.model_copy(update={"subnet6": "fd00:7::/64", "mode": NetworkMode.CAMPUS})
    tree = metadata_tree.tree(spec(nics=(home, campus)), home, "cc-00000001")
    assert metadata_tree.read(tree, "/latest/meta-data/ipv6") == "fd00:10::5054:ff:fe00:a"
    assert metadata_tree.read(tree, f"/latest/meta-data/network/interfaces/macs/{campus.mac}/ipv6s") == "fd00:7::5054:ff:fe00:b"
    networks = json.loads(tree["/openstack/latest/network_data.json"])["networks"]
    assert [(each["id"], each["link"], each["type"]) for each in networks] == [
        ("network0", "link0", "ipv4_dhcp"), ("network1", "link0", "ipv6_dhcpv6-stateful"), ("network2", "link1", "ipv4_dhcp"),
        ("network3", "link1", "ipv6_slaac"),
    ]
