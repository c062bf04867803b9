"""The clouds that take no root, for real, as a user who has none: PROFILE=demo and PROFILE=rootless from nothing to nothing."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.unprivileged import Unprivileged, soon

pytestmark = pytest.mark.live
PACKAGES = Path("/var/tmp/educloud-test-packages")


@pytest.fixture
def demo():
    cloud = Unprivileged("demo", 16600)
    yield cloud
    if cloud.cloud.exists():
        cloud.host("reset")
    cloud.forget()


@pytest.fixture
def rootless():
    cloud = Unprivileged("rootless", 16100, PACKAGES)
    yield cloud
    if cloud.cloud.exists():
        cloud.host("reset")
    cloud.forget()


def left(cloud):
    """What of ours is in that user's home."""
    return [p for p in cloud.home.rglob("*") if p.is_file() or p.is_symlink()]


def failures(cloud):
    """What the examination finds wrong."""
    return [line for line in cloud.call("doctor").splitlines() if line.startswith("fail")]


def page(cloud, path):
    return httpx.get(f"http://127.0.0.1:{cloud.base}{path}", timeout=20).text


def test_a_demo_says_that_it_is_one_and_remembers(demo):
    assert "simulation: no machine really runs" in demo.host("up")
    made = demo.json("instance", "run", "--image", "tiny", "--count", "3")
    assert {i["state"] for i in made} == {"running"}
    assert len({n["ip"] for i in made for n in i["nics"]}) == 3
    assert demo.call("status").startswith("simulation: no machine really runs")
    assert demo.json("status")["simulation"] is True
    assert 'class="simulation"' in page(demo, "/login/")
    assert failures(demo) == []
    assert not any(name.startswith("qemu") for name in demo.processes())

    began = demo.processes()
    demo.host("up", PROFILE="")
    assert demo.processes() == began
    assert "holds a cloud of PROFILE=demo" in demo.host("up", code=5, PROFILE="rootless")

    demo.host("down")
    assert demo.processes() == []
    demo.host("up")
    ids = {i["id"] for i in made}
    assert soon(lambda: {i["id"] for i in demo.json("instance", "list") if i["state"] == "running"} == ids)
    demo.call("instance", "delete", made[0]["id"], "--yes")
    demo.host("reset")
    assert (demo.processes(), left(demo)) == ([], [])


def test_a_killed_demo_goes_on(demo):
    demo.host("up")
    made = demo.json("instance", "run", "--image", "tiny")
    victim = next(int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and is_program(e, demo, "cloud"))
    os.kill(victim, signal.SIGKILL)
    assert soon(lambda: answers(demo))
    assert soon(lambda: demo.json("instance", "show", made["id"])["state"] == "running")
    again = demo.json("instance", "run", "--image", "tiny")
    assert again["nics"][0]["ip"] != made["nics"][0]["ip"]


def is_program(entry, cloud, name):
    try:
        words = (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return {f"EDUCLOUD_HOME={cloud.cloud}".encode(), f"EDUCLOUD_PROGRAM={name}".encode()} <= set(words)


def answers(cloud):
    try:
        return {h["state"] for h in cloud.json("status")["hosts"]} == {"up"}
    except AssertionError:
        return False


def test_rootless_runs_a_real_guest_reached_by_its_leased_port(rootless):
    rootless.host("up")
    made = rootless.json("instance", "run", "--image", "tiny")
    forward = next(f for f in made["forwards"] if f["guest_port"] == 80)

    def guest():
        try:
            return httpx.get(f"http://{forward['host']}:{forward['port']}/", timeout=5).text
        except httpx.HTTPError:
            return ""

    told = soon(guest)
    assert made["id"] in told
    assert f"ip {made['nics'][0]['ip']}\n" in told
    assert {Path(f"/proc/{pid}").owner() for pid in qemus(rootless)} == {rootless.who.pw_name}
    assert failures(rootless) == []

    began = rootless.processes()
    rootless.host("up")
    assert rootless.processes() == began

    rootless.call("instance", "delete", made["id"], "--yes")
    assert qemus(rootless) == []
    rootless.host("reset")
    assert (rootless.processes(), left(rootless)) == ([], [])
    assert (PACKAGES / "unpacked").exists()


def qemus(cloud):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if entry.name.isdigit() and b"qemu-system" in words.split(b"\0")[0] and str(cloud.cloud).encode() in words:
            found.append(int(entry.name))
    return found
