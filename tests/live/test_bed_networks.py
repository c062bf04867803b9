"""The networks of each bed without a cloud in them: who reaches whom, through routers and NAT; what a link does to what passes."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from deploy.testbed import description, scan
from deploy.testbed.bed import ROOT
from deploy.testbed.init import READY
from luhyaapi import process
from luhyaapi.errors import Refused
from tests.support.bed_sight import built

pytestmark = pytest.mark.live
BEDS = Path(description.__file__).parent
PORT = 8600


def listening(bed):
    """A door in every host, which ends with it."""
    for name, host in bed.description.hosts.items():
        if any(host.addresses.values()):
            process.spawn([*bed.inside(name), "busybox", "nc", "-ll", "-p", str(PORT), "-e", "/bin/true"], output=bed.folder / "nc.log")
    time.sleep(0.3)


def reached(bed):
    """By host, whom it reaches at any address."""
    hosts = bed.description.hosts
    where = {f"{name} {network}": address for name, host in hosts.items() for network, address in host.addresses.items() if address}
    found = scan.from_hosts(bed, where, (PORT,))
    return {name: {each.split()[0] for each in doors} - {name} for name, doors in found.items()}


def seen(outer, hidden=()):
    """Those outside reach each other; those behind the router that hides them reach all, as it does."""
    every = {"gate", *outer, *hidden}
    return {name: every - {name} for name in ("gate", *hidden)} | {name: {"gate", *outer} - {name} for name in outer}


@pytest.mark.parametrize(("name", "wanted"), [
    ("one_lan", seen(("front", "head", "node1", "node2", "inside", "outside"))),
    ("nat", seen(("front", "outside"), ("branch", "node", "inside"))),
])
def test_who_reaches_whom(name, wanted):
    with built("nets", BEDS / f"{name}.toml") as bed:
        listening(bed)
        found = reached(bed)
    assert found == wanted


TWO = """
[networks]
lan = "10.9.1.0/24"
[hosts.front]
roles = ["clc"]
networks = ["lan"]
links.lan = { LINK }
[hosts.far]
networks = ["lan"]
"""
SIZE = 1_000_000
TAKES = "import socket as s; t = s.create_server(('', 9000)).accept()[0]\nwhile t.recv(65536): pass\nt.sendall(b'.')"
GIVES = """import socket as s, sys, time
t = s.create_connection((sys.argv[1], 9000)); began = time.monotonic()
t.sendall(bytes(SIZE)); t.shutdown(s.SHUT_WR); t.recv(1); print(time.monotonic() - began)""".replace("SIZE", str(SIZE))


@pytest.fixture
def two(tmp_path):
    def two(link):
        file = tmp_path / "two.toml"
        file.write_text(TWO.replace("LINK", link))
        return built("nets", file)

    return two


def seconds(bed, giver, taker):
    """How long a megabyte takes."""
    listens = process.spawn([*bed.inside(taker), sys.executable, "-c", TAKES], output=bed.folder / "takes.log")
    time.sleep(0.5)
    try:
        return float(bed.run(giver, [sys.executable, "-c", GIVES, bed.description.hosts[taker].addresses["lan"]]).text)
    finally:
        process.end(listens)


def test_a_link_carries_no_more_than_its_rate_either_way(two):
    with two('rate = "8mbit"') as bed:
        for ends in (("front", "far"), ("far", "front")):
            assert 0.8 < seconds(bed, *ends) < 4, ends


def test_a_link_is_late_or_it_is_said_why_not(two):
    """Not every kernel can delay."""
    able = process.run(["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"], timeout_s=5, check=False).code == 0
    with pytest.raises(Refused, match="cannot delay a link") if not able else nullcontext(), two("delay_ms = 200") as bed:
        assert seconds(bed, "front", "far") > 0.4


def test_nothing_is_left_of_a_bed(two):
    with two('rate = "8mbit"') as bed:
        folder, pids = bed.folder, [bed.pid(name) for name in bed.description.hosts]
        assert all(map(process.alive, pids))
        assert bed.switch.namespace in process.run(["ip", "netns"], timeout_s=5).text
    assert not any(map(process.alive, pids))
    assert not folder.exists()
    assert bed.switch.namespace not in process.run(["ip", "netns"], timeout_s=5).text


# a machine with a cloud of its own, whose folders the hosts' lie over
_MACHINE = 'mount -t tmpfs tmpfs /var/lib && mkdir -p /var/lib/educloud/clc /var/lib/other && echo secret > /var/lib/educloud/clc/key && exec "$@"'


def test_a_host_sees_nothing_of_the_machines_own_cloud(tmp_path):
    host, log = tmp_path / "front", tmp_path / "log"

    def boot():
        log.write_text("")
        own = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        booting = [*own, sys.executable, "-m", "deploy.testbed.init", host]
        outer = process.spawn(["unshare", "--mount", "sh", "-c", _MACHINE, "sh", *booting], output=log, cwd=ROOT)
        until = time.monotonic() + 20
        while READY not in log.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        assert READY in log.read_text()
        (inner,) = psutil.Process(outer).children()
        return inner, Path(f"/proc/{inner.pid}/root/var/lib")

    inner, seen_there = boot()
    try:
        assert (seen_there / "other").is_dir()
        assert list((seen_there / "educloud").iterdir()) == []
        (seen_there / "educloud/own").write_text("kept")
    finally:
        process.end(inner.pid)
    inner, seen_there = boot()
    try:
        assert [each.name for each in (seen_there / "educloud").iterdir()] == ["own"]
    finally:
        process.end(inner.pid)
