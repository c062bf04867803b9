"""Two clusters of one cloud: one in a LAN with the core, one that a router hides. Each guest is reached as promised and in no other way."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.testbed import description, scan
from deploy.testbed.bed import ROOT
from tests.support.bed_sight import asked, built, hosts, soon

pytestmark = pytest.mark.live
FAR_ROUTER, PUBLIC = "10.99.4.254", "203.0.113.1"
NETWORKS = {
    "servers": ("head", "10.198.10.0/24"), "desks": ("head", "10.198.9.0/24", "--mode", "node", "--isolated"),
    "campus": ("head", "10.99.1.0/24", "--mode", "campus", "--gateway", "10.99.1.254", "--range", "10.99.1.100-10.99.1.119"),
    "far": ("head", "10.99.4.0/24", "--mode", "campus", "--gateway", FAR_ROUTER, "--range", "10.99.4.50-10.99.4.59"),
    "annex": ("branch", "10.198.11.0/24"),
}
"""Name: cluster, subnet, and what else is said of it."""


@pytest.fixture(scope="module")
def bed():
    with built("two", description.Path(description.__file__).with_name("two_clusters.toml")) as made:
        made.up()
        # The router of the campus: a second LAN on the same wire with a DHCP server of its own, and it knows the ways to the cluster.
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
    """One guest in each network, by its name; all start at once."""
    for name, (cluster, subnet, *more) in NETWORKS.items():
        bed.educloud("network", "create", "--name", name, "--cluster", cluster, "--subnet", subnet, *more)
    ids = {name: bed.answer("instance", "run", "--image", "tiny", "--network", name, "--no-wait")["subject"] for name in NETWORKS}

    def placed():
        found = bed.answer("instance", "show", ids["far"])
        return found["nics"] and found["nics"][0].get("mac") and found["nics"][0]

    card = soon(placed)
    bed.run("gate", ["tee", "/run/hosts/far"], stdin=f"{card['mac']},{card['ip']}\n".encode())
    assert soon(lambda: all(each["state"] == "running" for each in bed.answer("instance", "list")), 120)
    return {name: bed.answer("instance", "show", one) for name, one in ids.items()}


def ip(guest):
    return guest["nics"][0]["ip"]


def test_every_host_of_both_clusters_is_up_and_has_its_guest(bed, guests):
    assert soon(lambda: hosts(bed) == dict.fromkeys(hosts(bed), "up"))
    print(bed.answer("host", "list"))
    print(guests)
