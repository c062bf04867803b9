"""Two clusters of one cloud: one in a LAN with the core, one that a router hides. Each guest is reached as promised and in no other way.

Real guests in every mode: behind the cluster, behind its node, on the campus with addresses from the cluster's DHCP server and from
another's; users in the LAN, in the world and in the hidden network.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.testbed import description, scan
from tests.support.bed_sight import asked, built, greeting, hosts, soon

pytestmark = pytest.mark.live
FAR_ROUTER, PUBLIC = "10.99.4.254", "203.0.113.1"
NETWORKS = {
    "servers": ("head", "10.198.10.0/24"), "desks": ("head", "10.198.9.0/24", "--mode", "node", "--isolated"),
    "campus": ("head", "10.99.1.0/24", "--mode", "campus", "--gateway", "10.99.1.254", "--range", "10.99.1.100-10.99.1.119"),
    "far": ("head", "10.99.4.0/24", "--mode", "campus", "--gateway", FAR_ROUTER, "--range", "10.99.4.50-10.99.4.59"),
    "annex": ("branch", "10.198.11.0/24"),
}
"""Name: cluster, subnet, and what else is said of it."""
GATEWAYS = {f"{name}-gateway": f"10.198.{n}.1" for name, n in (("servers", 10), ("desks", 9), ("annex", 11))}
IN_GUESTS = (22, 53, 80, 8600, 8603, 8605, 8615, 20000, 20001)
"""What a guest, which is slow, tries of the doors."""


@pytest.fixture(scope="module")
def bed():
    with built("two", Path(description.__file__).with_name("two_clusters.toml")) as made:
        made.up()
        # The router has a second LAN on the same wire with a DHCP server of its own, and knows the ways to the cluster.
        made.run("gate", ["ip", "address", "add", f"{FAR_ROUTER}/24", "dev", "lan0"])
        for net in ("10.198.0.0/16", f"{PUBLIC}/32"):
            made.run("gate", ["ip", "route", "add", net, "via", made.description.hosts["head"].addresses["lan"]])
        made.run("gate", ["mkdir", "/run/hosts"])
        made.run("gate", [
            "dnsmasq", "--conf-file=/dev/null", "--port=0", "--interface=lan0", "--bind-interfaces", "--dhcp-range=10.99.4.0,static,255.255.255.0",
            f"--dhcp-option=option:router,{FAR_ROUTER}", "--dhcp-hostsdir=/run/hosts", "--dhcp-ignore=tag:!known", "--leasefile-ro", "--no-ping",
            "--pid-file=/run/dnsmasq.pid", "--user=root", "--log-facility=/run/dnsmasq.log",
        ])
        yield made


@pytest.fixture(scope="module")
def guests(bed):
    """One in each network, by its name; all start at once, and what is promised of them is asked for."""
    for name, (cluster, subnet, *more) in NETWORKS.items():
        bed.educloud("network", "create", "--name", name, "--cluster", cluster, "--subnet", subnet, *more)
    ids = {name: bed.answer("instance", "run", "--image", "tiny", "--network", name, "--no-wait")["subject"] for name in NETWORKS}
    (card,) = soon(lambda: bed.answer("instance", "show", ids["far"])["nics"])
    # What its administrator does at the campus's own DHCP server, with what the cloud says of the card.
    bed.run("gate", ["tee", "/run/hosts/far"], stdin=f"{card['mac']},{card['ip']}\n".encode())
    bed.educloud("elastic", "add", PUBLIC, "--cluster", "head")
    bed.educloud("elastic", "allocate", "--cluster", "head")
    bed.educloud("elastic", "associate", PUBLIC, ids["servers"])
    inside, outside = (next(iter(bed.description.hosts[user].addresses.values())) for user in ("inside", "outside"))
    for name, who in (("servers", outside), ("campus", inside), ("far", outside)):
        bed.educloud("instance", "rules", ids[name], "--allow", f"tcp:80:{who}/32")
    assert soon(lambda: all(each["state"] == "running" for each in bed.answer("instance", "list")), 120)
    found = {name: bed.answer("instance", "show", one) for name, one in ids.items()}
    for name in ("servers", "desks", "annex"):
        found[name]["way"] = bed.answer("forward", "add", ids[name], "80")
    return found


def address(guest):
    return guest["nics"][0]["ip"]


@pytest.fixture(scope="module")
def where(bed, guests):
    """Every address of the bed, by name."""
    own = {name: next(filter(None, host.addresses.values())) for name, host in bed.description.hosts.items()}
    return own | GATEWAYS | {"public": PUBLIC} | {name: address(guest) for name, guest in guests.items()}


def doors(host, *ports):
    return {f"{host}:{port}" for port in ports}


@pytest.fixture(scope="module")
def promised(guests):
    """What each place reaches, by place."""
    node = guests["desks"]["host_name"]
    lent = {name: guest["way"]["port"] for name, guest in guests.items() if "way" in guest}
    of_head = doors("head", 8603, 8604, 8615, lent["servers"], lent["desks"])
    lan = doors("front", 8600, 8601, 8602, 8607, 8615) | of_head | doors("node1", 8605) | doors("node2", 8605) | doors(node, lent["desks"])
    annex = doors("branch", 8603, 8604, 8615, lent["annex"]) | doors("room", 8605)
    at_node = {"desks:80", "desks-gateway:53"}
    places = {
        "front": lan, "head": lan | {"servers:80", "public:80", "servers-gateway:53"}, "node1": lan, "node2": lan,
        "inside": lan | {"campus:80"}, "outside": lan | {"far:80", "servers:80", "public:80"},
        "gate": lan | annex, "local": lan | annex, "room": lan | annex, "branch": lan | annex | {"annex:80", "annex-gateway:53"},
    }
    places[node] = lan | at_node
    own = {name: doors(guests[name]["host_name"], 8605, lent["desks"]) for name in ("desks", "campus")}
    inside = {
        # A way out leads to others' doors, under the address of its gateway's host; that host itself has none for it.
        "servers": lan - of_head | doors("head", lent["desks"]) | {"servers:80", "servers-gateway:53"},
        "desks": lan - own["desks"] | at_node, "campus": lan - own["campus"] | {"campus:80"},
    }
    return places | {f"{name} guest": found for name, found in inside.items()}


def test_every_host_of_both_clusters_is_up_and_each_guest_shows_its_screen(bed, guests):
    assert soon(lambda: hosts(bed) == dict.fromkeys(("front", "head", "node1", "node2", "branch", "room"), "up"))
    assert {name: guest["cluster_name"] for name, guest in guests.items()} == {name: said[0] for name, said in NETWORKS.items()}
    with ThreadPoolExecutor(len(guests)) as beside:
        words = set(beside.map(lambda guest: greeting(bed, guest["id"]), guests.values()))
    assert words == {b"RFB 003.008\n"}


def test_each_guest_answers_at_the_promised_place(bed, guests, where):
    """In one LAN and behind NAT; a desktop by its node and by its cluster, a server by port, public address and its own."""
    desk = guests["desks"]["way"]["port"]
    for name, user, to, port in (
        ("desks", "inside", where[guests["desks"]["host_name"]], desk), ("desks", "outside", where["head"], desk),
        ("servers", "outside", where["head"], guests["servers"]["way"]["port"]), ("servers", "outside", PUBLIC, 80),
        ("servers", "outside", where["servers"], 80), ("campus", "inside", where["campus"], 80), ("far", "outside", where["far"], 80),
        ("annex", "local", where["branch"], guests["annex"]["way"]["port"]),
    ):
        assert soon(lambda user=user, to=to, port=port: asked(bed, user, to, port), 30) == guests[name]["id"], (name, user, to, port)
    # Where no packet leads in, its owner still gets in through the cloud, by a line that the cluster dials outward.
    assert asked(bed, "outside", where["branch"], guests["annex"]["way"]["port"], 2) == ""
    line = bed.run("front", [bed.program, "instance", "tunnel", guests["annex"]["id"], "80"], stdin=b"GET / HTTP/1.0\r\n\r\n")
    assert guests["annex"]["id"] in line.text


def test_nothing_else_is_reached_from_anywhere(bed, guests, where, promised):
    """Every door of every host and guest is tried from every host, and the most telling ones from within a guest of each mode."""
    few = {name: to for name, to in where.items() if name not in ("inside", "outside", "local", "gate")}
    asked_for = {f":{port}" for port in IN_GUESTS}
    with ThreadPoolExecutor(3) as beside:
        inner = {name: beside.submit(scan.from_guest, bed, guests[name]["id"], few, IN_GUESTS) for name in ("servers", "desks", "campus")}
        assert scan.from_hosts(bed, where) == {name: promised[name] for name in bed.description.hosts}
    for name, job in inner.items():
        # Whether it reaches itself by its own port of the cluster depends on what others told the kernel of bridges.
        own = doors("head", guests[name].get("way", {}).get("port"))
        wanted = {door for door in promised[f"{name} guest"] if door[door.index(":"):] in asked_for}
        assert job.result() - own == wanted - own, name
