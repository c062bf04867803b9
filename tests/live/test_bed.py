"""The same cloud on five hosts: what listens where, cuts, lost power, killed programs. Nothing runs twice, nothing is stuck."""

import os
import random
import time

import pytest

from deploy.testbed import kills, scan
from tests.soak import bed_deaths, bed_runs, bed_truth
from tests.soak.bed_case import Case
from tests.support.bed_sight import NODES, asked, five_hosts, greeting, guests, hosts, instances, settled, soon

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def bed():
    with five_hosts("test") as made:
        yield made


@pytest.fixture(scope="module")
def pair(bed):
    """An instance on each node, by node."""
    names = {h["id"]: h["name"] for h in bed.answer("host", "list")}
    made = {}
    for node in NODES:
        other = next(i for i, name in names.items() if name in NODES and name != node)
        bed.educloud("host", "drain", other)
        one = bed.answer("instance", "run", "--image", "tiny", timeout_s=180)
        bed.educloud("host", "resume", other)
        assert names[one["host"]] == node
        made[node] = one
    assert soon(lambda: settled(bed))
    return made


def said(bed, instance):
    """What the guest itself says by HTTP: its id, and for how long it has been up in seconds."""
    lines = bed.run("head", ["curl", "-sS", "-m", "5", f"http://{instance['nics'][0]['ip']}/"]).text.split("\n")
    form = dict(line.split(" ", 1) for line in lines[1:] if " " in line)
    return lines[0].strip(), float(form["up_s"])


def test_only_doors_others_come_to_are_open(bed):
    """Loopback aside, on a node only its door for neighbours listens, on bosses what children and browsers come to, on a store nothing.

    At the cluster's host guests ask for names (53), at their gateway's address.
    """
    ports = {}
    for name in bed.description.hosts:
        rows = bed.run(name, ["ss", "-Hltn"]).text.splitlines()
        ports[name] = {int(row.split()[3].rsplit(":", 1)[1]) for row in rows if not row.split()[3].startswith(("127.0.0.1:", "[::1]:"))}
    assert ports == {
        "front": {8600, 8601, 8602, 8607, 8615}, "head": {53, 8603, 8604, 8615}, "node1": {8605}, "node2": {8605}, "store": set(),
        "student": set(), "desk": set(),
    }


def test_a_prefetch_reaches_both_nodes_and_one_takes_from_the_other(bed):
    task = bed.answer("image", "prefetch", "--image", "tiny", "--hosts", "all", timeout_s=120)
    assert (task["state"], {s["state"] for s in task["steps"]}) == ("done", {"done"})
    assert soon(lambda: len(bed.answer("image", "show", "tiny")["cached_on"]) == 3)
    doors = {name: f"https://{bed.description.hosts[name].addresses['cluster']}:8605/metrics" for name in NODES}
    asked = {name: bed.run(name, ["curl", "-sSk", "-m", "5", door]).text for name, door in doors.items()}
    blocks = [line for text in asked.values() for line in text.splitlines() if line.startswith("educloud_http_answers_total") and "blocks" in line]
    assert any('role="nc"' in line and 'status="200"' in line for line in blocks), asked


def test_a_cluster_killed_in_the_middle_only_delays_a_prefetch(bed, tmp_path):
    disk = tmp_path / "large.raw"
    disk.write_bytes(os.urandom(250 * 1024 * 1024))
    bed.educloud("image", "upload", str(disk), "--name", "large")
    by = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 120))
    task = bed.answer("image", "prefetch", "--image", "large", "--hosts", "all", "--by", by, "--no-wait")["id"]
    halves = ["find", "/var/lib/educloud/cc/cache/parts", "-name", "*.part"]
    assert soon(lambda: bed.run("head", halves).text)
    kills.kill(bed, "head", "cc")
    assert bed.run("head", halves).text, "it was in the middle"
    assert soon(lambda: bed.answer("task", "show", task)["state"] not in ("queued", "running"), 120)
    told = bed.answer("task", "show", task)
    assert (told["state"], {step["state"] for step in told["steps"]}) == ("done", {"done"}), told
    assert soon(lambda: len(bed.answer("image", "show", "large")["cached_on"]) == 3)
    bed.educloud("image", "delete", "large", "--yes")


def test_a_network_spans_the_nodes_that_have_guests_in_it(bed):
    """Their addresses come from the cluster's DHCP server, each over another wire than its node's own network; a closed class has them alone.

    By IPv6 they are reached from outside as a rule says, at their own address.
    """
    bed.educloud("network", "create", "--name", "class-7", "--subnet", "10.198.7.0/24", "--subnet6", "fd07:0:0:7::/64", "--mode", "closed", "--no-way-out")
    made = bed.answer("instance", "run", "--image", "tiny", "--network", "class-7", "--count", "2", timeout_s=300)
    assert len({one["host"] for one in made}) == 2
    addresses = [one["nics"][0]["ip"] for one in made]
    for one, address in zip(made, addresses, strict=True):
        assert soon(lambda address=address: asked(bed, "head", address), 60) == one["id"]
    sixth = [one["nics"][0]["ip6"] for one in made]
    for host, address in (("head", "fd99::1"), ("student", "fd99::2")):
        bed.run(host, ["ip", "address", "add", f"{address}/64", "dev", bed.description.hosts[host].card("campus"), "nodad"])
    bed.run("student", ["ip", "-6", "route", "replace", "fd07:0:0:7::/64", "via", "fd99::1"])
    for one, address in zip(made, sixth, strict=True):
        assert soon(lambda address=address: asked(bed, "head", f"[{address}]"), 60) == one["id"]
        assert asked(bed, "student", f"[{address}]", wait_s=1) == ""
    bed.educloud("instance", "rules", made[0]["id"], "--allow", "tcp:80:fd99::/64")
    assert soon(lambda: asked(bed, "student", f"[{sixth[0]}]"), 20) == made[0]["id"]
    assert asked(bed, "student", f"[{sixth[1]}]", wait_s=1) == ""
    where = {"other": addresses[1], "gateway": beside(made[0], 1), "front": bed.description.hosts["front"].addresses["campus"]}
    assert scan.from_guest(bed, made[0]["id"], where, (53, 80, 8600, 8603)) == {"other:80", "gateway:53"}
    for one in made:
        bed.educloud("instance", "delete", one["id"], "--yes")
    bed.educloud("network", "delete", "class-7", "--yes")
    assert soon(lambda: not any("vx" in bed.run(host, ["ip", "-br", "link"]).text for host in ("head", *NODES)), 60)


def beside(instance, last):
    """Another address of its network, which is a /24."""
    return f"{instance['nics'][0]['ip'].rsplit('.', 1)[0]}.{last}"


@pytest.fixture(scope="module")
def outside(bed, pair):
    """The campus is the outside of the cluster's host, the nodes' LAN that of the nodes; a student knows ways into both."""
    front, head = (bed.description.hosts[name].addresses for name in ("front", "head"))
    bed.run("head", ["ip", "route", "replace", "default", "via", front["campus"]])
    for node in NODES:
        bed.run(node, ["ip", "route", "replace", "default", "via", head["cluster"]])
    for net in (bed.description.networks["cluster"], beside(pair["node1"], "0/24"), "10.198.0.0/16"):
        bed.run("student", ["ip", "route", "replace", net, "via", head["campus"]])
    return head["campus"]


def test_a_server_behind_its_cluster_is_reached_by_ports_and_public_addresses_and_by_nothing_else(bed, pair, outside):
    one, two = pair["node1"], pair["node2"]
    inner = one["nics"][0]["ip"]
    assert asked(bed, "student", inner, wait_s=2) == ""
    way = bed.answer("forward", "add", one["id"], "80")
    assert way["address"] == outside
    assert soon(lambda: asked(bed, "student", outside, way["port"]), 20) == one["id"]
    assert asked(bed, "student", outside, way["port"] + 1, 2) == ""
    public = bed.description.networks["campus"].rsplit(".", 1)[0] + ".200"
    bed.educloud("elastic", "add", public)
    bed.educloud("elastic", "allocate")
    bed.educloud("elastic", "associate", public, one["id"])
    assert asked(bed, "student", public, wait_s=2) == "", "an address is a way and no permission"
    for each in (one, two):
        bed.educloud("instance", "rules", each["id"], "--allow", "tcp:80")
    assert soon(lambda: asked(bed, "student", public), 20) == one["id"]
    assert asked(bed, "student", inner) == one["id"]
    assert asked(bed, "student", public, 22, 2) == ""
    bed.educloud("elastic", "associate", public, two["id"])
    assert soon(lambda: asked(bed, "student", public) == two["id"], 20)
    bed.educloud("forward", "delete", one["id"], "80")
    bed.educloud("elastic", "dissociate", public)
    for each in (one, two):
        bed.educloud("instance", "rules", each["id"], "--clear")
    assert soon(lambda: (asked(bed, "student", outside, way["port"], 2), asked(bed, "student", public, wait_s=2), asked(bed, "student", inner, wait_s=2)) ==
                ("", "", ""), 20)
    assert asked(bed, "student", beside(one, "1"), 53, 2) == ""


def test_from_every_place_servers_are_reached_as_was_asked_for_and_nothing_else_is(bed, pair, outside):
    """One behind the cluster for a user outside, one in the nodes' LAN for a user inside; all hosts and another guest try the doors of all."""
    one, there = pair["node1"], bed.description.hosts
    way = bed.answer("forward", "add", one["id"], "80")
    bed.educloud("network", "create", "--name", "lan", "--mode", "campus", "--subnet", bed.description.networks["cluster"],
                 "--gateway", there["head"].addresses["cluster"], "--range", "10.99.2.100-10.99.2.109")
    made = bed.answer("instance", "run", "--image", "tiny", "--network", "lan", timeout_s=180)
    try:
        users = {"student": (one, there["student"].addresses["campus"]), "desk": (made, there["desk"].addresses["cluster"])}
        for server, source in users.values():
            bed.educloud("instance", "rules", server["id"], "--allow", f"tcp:80:{source}/32")
        for user, (server, _) in users.items():
            assert soon(lambda user=user, server=server: asked(bed, user, server["nics"][0]["ip"]), 30) == server["id"]
        where = {f"{name}@{net}": to for name, host in there.items() for net, to in host.addresses.items() if to}
        where |= {"one": one["nics"][0]["ip"], "two": pair["node2"]["nics"][0]["ip"], "gateway": beside(one, 1), "made": made["nics"][0]["ip"]}
        front = {f"front@campus:{port}" for port in (8600, 8601, 8602, 8607, 8615)}
        head = {f"head@cluster:{port}" for port in (8603, 8604, 8615)}
        nodes, lent = {"node1@cluster:8605", "node2@cluster:8605"}, {f"head@campus:{way['port']}"}
        assert scan.from_hosts(bed, where) == {
            "front": front | lent, "head": front | head | nodes | lent | {"one:80", "two:80", "gateway:53"},
            "node1": head | nodes, "node2": head | nodes, "store": head | nodes,
            "student": front | head | lent | {"one:80"}, "desk": head | nodes | {"made:80"},
        }
        few = (22, 53, 80, 8600, 8603, 8605, 8615)
        assert scan.from_guest(bed, pair["node2"]["id"], where, few) == {"front@campus:8600", "front@campus:8615", "one:80", "two:80", "gateway:53"}
    finally:
        bed.educloud("instance", "delete", made["id"], "--yes")
        bed.educloud("forward", "delete", one["id"], "80")
        bed.educloud("instance", "rules", one["id"], "--clear")
    bed.educloud("network", "delete", "lan", "--yes")


def test_a_desktop_behind_its_node_is_reached_at_the_node_and_at_the_cluster_and_by_nothing_else(bed, outside):
    bed.educloud("network", "create", "--name", "desks", "--subnet", "10.198.9.0/24", "--mode", "node", "--isolated")
    made = bed.answer("instance", "run", "--image", "tiny", "--network", "desks", timeout_s=180)
    try:
        host = next(h["name"] for h in bed.answer("host", "list") if h["id"] == made["host"])
        near = bed.description.hosts[host].addresses["cluster"]
        inner = made["nics"][0]["ip"]
        way = bed.answer("forward", "add", made["id"], "80")
        assert soon(lambda: asked(bed, "desk", near, way["port"]), 60) == made["id"]
        assert soon(lambda: asked(bed, "student", outside, way["port"]), 20) == made["id"]
        assert asked(bed, host, inner) == made["id"], "from the node itself"
        for where, address, port in (("student", inner, 80), ("desk", inner, 80), ("desk", near, way["port"] + 1), ("head", inner, 80)):
            assert asked(bed, where, address, port, 2) == "", (where, address, port)
    finally:
        bed.educloud("instance", "delete", made["id"], "--yes")
    assert soon(lambda: asked(bed, "desk", near, way["port"], 2) == "" == asked(bed, "student", outside, way["port"], 2), 20)
    bed.educloud("network", "delete", "desks", "--yes")


def test_a_guest_of_each_node_is_reached_and_its_log_and_screen_come_up_two_hops(bed, pair):
    for one in pair.values():
        assert soon(lambda one=one: said(bed, one)[0]) == one["id"]
        assert soon(lambda one=one: one["id"] in bed.educloud("instance", "log", one["id"]).text)
        assert greeting(bed, one["id"]) == b"RFB 003.008\n"


@pytest.mark.parametrize("way", ["both", "sends", "hears"])
def test_a_cut_makes_unknown_and_nothing_else(bed, pair, way):
    one, host = pair["node1"], bed.description.hosts["node1"]
    _, before = said(bed, one)
    began = time.monotonic()
    bed.switch.cut(host, "cluster", sends=way != "hears", hears=way != "sends")
    try:
        assert soon(lambda: hosts(bed)["node1"] == "silent", 60)
        assert instances(bed)[one["id"]]["state"] == "unknown"
        assert instances(bed)[pair["node2"]["id"]]["state"] == "running"
        assert guests(bed)[one["id"]] == ["node1"]
    finally:
        bed.switch.heal()
    assert soon(lambda: settled(bed), 120)
    _, after = said(bed, one)
    assert after >= before + (time.monotonic() - began) - 10, "the guest was started anew"


def test_power_is_lost_and_comes_back(bed, pair):
    one = pair["node1"]
    bed.power_off("node1")
    assert soon(lambda: instances(bed)[one["id"]]["state"] == "unknown", 60)
    assert one["id"] not in guests(bed), "started elsewhere without proof"
    bed.power_on("node1")
    bed.make("node1", "up")
    assert soon(lambda: settled(bed), 120)
    assert soon(lambda: said(bed, one)[0]) == one["id"]


@pytest.mark.parametrize(("host", "process", "moment"), [
    ("front", "clc-web", "accepted"), ("front", "broker", "accepted"), ("head", "cc", "ordered"), ("store", "sc", "ordered"), ("front", "walrus", "image"),
    ("front", "clc-relay", "placed"), ("head", "dnsmasq", "address"), ("node2", "nc", "boot"), ("node1", "libvirtd", "guest"), ("node2", "guest", "guest"),
])
def test_a_process_dies_while_an_instance_starts(bed, pair, host, process, moment):
    """Each program and each moment once; the soak has every process of every host at every moment (``--only deaths``)."""
    death = bed_deaths.one_death(bed, host, process, moment)
    assert death.took_s < bed_deaths.IN_S
    assert set(guests(bed)) == {one["id"] for one in pair.values()}


def test_every_process_of_every_host_dies_in_the_soak(bed, pair):
    def running():
        return {host: {name.partition(" ins-")[0] for name in bed.programs(host)} for host in bed_deaths.PROCESSES}

    # A broker starts helpers for a moment, each minute.
    assert soon(lambda: running() == {host: set(processes) for host, processes in bed_deaths.PROCESSES.items()}, 20), running()
    assert bed_deaths.PROCESSES.keys() == {name for name, host in bed.description.hosts.items() if host.roles}


def test_what_belongs_to_nobody_is_seen_where_it_is(bed, pair):
    tap, folder, entry = "t0badcafe000009", "/var/lib/educloud/nc/instances/ins-0badcafe", "/var/lib/educloud/cc/edge/hosts/02-00-00-00-00-09"
    bed_truth.at_rest(bed, time.monotonic() + 60, "before")
    try:
        bed.run("node1", ["ip", "tuntap", "add", "dev", tap, "mode", "tap"])
        bed.run("node2", ["mkdir", "-p", folder])
        bed.run("head", ["tee", entry], stdin=b"02:00:00:00:00:09,10.99.100.9,nobody,infinite\n")
        wrong = bed_truth.wrong(bed_truth.collect(bed))
    finally:
        bed.run("node1", ["ip", "link", "del", "dev", tap])
        bed.run("node2", ["rm", "-rf", folder])
        bed.run("head", ["rm", "-f", entry])
    for part in (f"the tap {tap} on node1 is of no guest", "wanted of ins-0badcafe is left on node2", "DHCP of edu8600 on head knows"):
        assert [each for each in wrong if part in each], (part, wrong)
    bed_truth.at_rest(bed, time.monotonic() + 60, "afterwards")


def test_a_trial_of_the_soak(bed):
    """One of those the soak does for hours, on the bed that stands."""
    case = Case(bed, random.Random(7))
    case.note_standing()
    assert bed_runs.one_kill(case)
    assert case.rest() < 120


def test_a_user_in_the_nodes_lan_reaches_servers_where_both_cards_are_named(bed, pair, outside):
    one, head, own = pair["node1"], bed.description.hosts["head"].addresses, "/var/lib/educloud/cc/cc.local.toml"
    inner = one["nics"][0]["ip"]
    bed.run("desk", ["ip", "route", "replace", "default", "via", head["cluster"]])
    way = bed.answer("forward", "add", one["id"], "80")
    bed.educloud("instance", "rules", one["id"], "--allow", "tcp:80")
    try:
        assert soon(lambda: asked(bed, "student", outside, way["port"]) == one["id"] == asked(bed, "student", inner), 20)
        bed.run("head", ["tee", own], stdin=b'[network]\noutside = ["campus0", "cluster0"]\n')
        kills.kill(bed, "head", "cc")
        assert soon(lambda: asked(bed, "desk", outside, way["port"], 2) == one["id"] == asked(bed, "desk", inner, wait_s=2), 60)
        assert asked(bed, "student", outside, way["port"]) == one["id"] == asked(bed, "student", inner)
        bed.educloud("instance", "rules", one["id"], "--clear")
        assert soon(lambda: asked(bed, "desk", inner, wait_s=2) == "", 20)
        assert asked(bed, "desk", bed.description.hosts["front"].addresses["campus"], 8600, 2) == "", "it leads to guests alone"
    finally:
        bed.run("head", ["rm", "-f", own])
        kills.kill(bed, "head", "cc")
        bed.run("desk", ["ip", "route", "del", "default"])
        assert soon(lambda: settled(bed))
        bed.educloud("forward", "delete", one["id"], "80")
