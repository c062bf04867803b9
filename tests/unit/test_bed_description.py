"""The description of a test bed: what is read from it, and each mistake is refused with its name."""

import tomllib
from pathlib import Path

import pytest

from deploy.testbed import description
from luhyaapi.errors import Refused

BEDS = Path(description.__file__).parent
LINES = """
[networks]
lan = "10.9.1.0/24"
far = "10.9.3.0/29"
wire = ""
[hosts.front]
roles = ["clc", "walrus"]
networks = ["lan"]
[hosts.gate]
networks = { lan = "10.9.1.254", far = "10.9.3.6" }
hides = ["far"]
[hosts.head]
roles = ["cc"]
networks = ["wire", "far"]
router = "gate"
[hosts.other]
roles = ["cc", "sc"]
networks = ["lan"]
bare = ["lan"]
[hosts.node]
roles = ["nc"]
networks = ["lan"]
boss = "other"
links.lan = { rate = "10mbit", delay_ms = 20 }
[hosts.node.settings.nc.network]
campus = "lan1"
"""


@pytest.fixture
def read(tmp_path):
    def read(text=LINES):
        file = tmp_path / "bed.toml"
        file.write_text(text)
        return description.read(file)

    return read


@pytest.fixture
def bed(read):
    return read()


@pytest.mark.parametrize("name", ["five", "one_lan", "two_clusters", "nat"])
def test_every_bed_of_ours_is_read(name):
    made = description.read(BEDS / f"{name}.toml")
    assert {role for host in made.hosts.values() for role in host.roles} >= {"clc", "walrus", "cc", "nc"}
    assert any(not host.roles and not made.is_router(host) for host in made.hosts.values()), "users"
    for host in made.hosts.values():
        cards = {card for card, _, _ in host.cards}
        assert all(settings["network"]["campus"] in cards for settings in host.settings.values())


def test_a_host_stands_where_it_is_told_at_its_place_or_at_the_address_given(bed):
    hosts = bed.hosts
    assert hosts["front"].cards == (("lan0", "lan", "10.9.1.1"),)
    assert hosts["gate"].addresses == {"lan": "10.9.1.254", "far": "10.9.3.6"}
    assert hosts["head"].cards == (("wire0", "wire", ""), ("far0", "far", "10.9.3.3"))
    assert (hosts["head"].uplink, hosts["other"].uplink) == ("wire0", ""), "guests meet in a network without addresses"
    assert hosts["other"].cards == (("lan0", "lan", "10.9.1.4"), ("lan1", "lan", ""))
    assert hosts["node"].links == {"lan": description.Link(rate="10mbit", delay_ms=20)}
    assert hosts["node"].settings == {"nc": {"network": {"campus": "lan1"}}}


def test_who_joins_whom_and_by_which_way(bed):
    hosts = bed.hosts
    assert bed.boss("cc", hosts["head"]) is hosts["front"]
    assert bed.boss("nc", hosts["node"]) is hosts["other"], "the one it names"
    assert bed.boss("sc", hosts["other"]) is hosts["other"], "itself before the first there is"
    assert bed.way(hosts["node"], hosts["other"]) == "10.9.1.4"
    assert bed.way(hosts["head"], hosts["front"]) == "10.9.1.1", "by its router"
    assert (bed.router_address(hosts["head"]), bed.router_address(hosts["front"])) == ("10.9.3.6", "")
    assert [name for name, host in hosts.items() if bed.is_router(host)] == ["gate"]
    with pytest.raises(Refused, match="front does not reach head"):
        bed.way(hosts["front"], hosts["head"])


@pytest.mark.parametrize(("line", "instead", "why"), [
    ('lan = "10.9.1.0/24"', 'lan = "10.9.1.1/24"', "has host bits set"),
    ('lan = "10.9.1.0/24"', 'lan = "10.9.1.0/24"\nLAN2 = ""', "pattern"),
    ("[hosts.front]", "[hosts.Front]", "pattern"),
    ('roles = ["clc", "walrus"]', 'roles = ["clc", "king"]', "front.roles.1"),
    ('roles = ["clc", "walrus"]', 'roles = ["walrus"]', "exactly one clc"),
    ('roles = ["cc", "sc"]', 'roles = ["clc"]', "exactly one clc"),
    ('roles = ["nc"]', 'roles = ["nc"]\nwhat = 1', "node.what"),
    ('networks = ["wire", "far"]', 'networks = ["wire", "fra"]', "not there.*fra"),
    ('bare = ["lan"]', 'bare = ["nowhere"]', "not there.*nowhere"),
    ('far = "10.9.3.6"', 'far = "10.9.3.7"', "10.9.3.7 is no host's address"),
    ('far = "10.9.3.6"', 'far = "10.9.4.6"', "10.9.4.6 is no host's address"),
    ('far = "10.9.3.6"', 'far = "near"', "near"),
    ('lan = "10.9.1.254"', 'lan = "10.9.1.1"', "address of another host"),
    ('["wire", "far"]', '{ wire = "10.9.1.9", far = "" }', "a network without any"),
    ('router = "gate"', 'router = "gait"', "router that is not beside it.*gait"),
    ('router = "gate"', 'router = "front"', "router that is not beside it.*front"),
    ('hides = ["far"]', 'hides = ["lan"]', "head does not reach front"),
    ('hides = ["far"]', 'hides = ["wire"]', "does not stand in.*wire"),
    ('bare = ["lan"]', 'hides = ["lan"]', "nobody's router"),
    ("links.lan", "links.far", "does not stand in.*far"),
    ('rate = "10mbit"', 'rate = "10 mbit; rm"', "node.links.lan.rate"),
    ("delay_ms = 20", "delay_ms = -1", "node.links.lan.delay_ms"),
    ('boss = "other"', 'boss = "front"', "cannot join as nc: front"),
    ("settings.nc.network", "settings.cc.network", "settings for a role it does not have.*cc"),
    ("networks = { lan", "networks = 5 #", "not iterable"),
    ("[networks]", "networks = 5\n[others]", "networks|items"),
    ("[networks]", "[networks", "cannot be read"),
])
def test_each_mistake_is_refused_with_its_name(read, line, instead, why):
    assert line in LINES
    with pytest.raises(Refused, match=why) as e:
        read(LINES.replace(line, instead, 1))
    assert e.value.code == "invalid"


def test_a_cluster_is_needed_for_nodes(read):
    with pytest.raises(Refused, match="a nc and no cc"):
        read('[networks]\nlan = "10.9.1.0/24"\n[hosts.front]\nroles = ["clc", "nc"]\nnetworks = ["lan"]\n')


def test_settings_come_out_as_they_went_in(bed):
    from deploy.host import configs

    assert tomllib.loads(configs.toml(bed.hosts["node"].settings["nc"])) == {"network": {"campus": "lan1"}}
