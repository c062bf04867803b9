"""The whole cloud on one host, for real: broker, cache, libvirt with emulated guests, DHCP, command line."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.real_cloud import BASE

pytestmark = pytest.mark.live


def page_of(address):
    try:
        return httpx.get(f"http://{address}/", timeout=2).text
    except httpx.HTTPError:
        return ""


@pytest.fixture(scope="module")
def running(cloud):
    made = cloud.json("instance", "run", "--image", "tiny")
    yield made
    if cloud.json("instance", "show", made["id"])["state"] != "deleted":
        cloud.call("instance", "delete", made["id"], "--yes")


def test_up_again_changes_nothing(cloud):
    before = cloud.json("host", "list")
    began = time.monotonic()
    assert "console" in cloud.host("up")
    assert time.monotonic() - began < 60
    assert {h["id"] for h in cloud.json("host", "list")} == {h["id"] for h in before}


def test_status_names_every_role_and_part(cloud):
    assert cloud.soon(cloud.all_up)
    status = cloud.json("status")
    assert {h["role"] for h in status["hosts"]} == {"clc", "walrus", "cc", "nc", "sc"}
    assert {p["name"] for p in status["parts"]} >= {"broker", "board", "database"}
    node = next(h for h in status["hosts"] if h["role"] == "nc")
    assert node["facts"]["accelerator"] in ("tcg", "kvm")
    assert node["facts"]["accelerator_why"]


def test_an_instance_answers_with_its_own_id(cloud, running):
    assert running["state"] == "running"
    address = running["nics"][0]["ip"]
    assert cloud.soon(lambda: page_of(address)).splitlines()[0] == running["id"]
    log = cloud.call("instance", "log", running["id"])
    assert running["id"] in log


def test_the_host_has_no_address_on_its_wire(cloud, running):
    taps = [p.name for p in Path(f"/sys/class/net/edu{BASE}/brif").iterdir() if running["id"].removeprefix("ins-") in p.name]
    assert len(taps) == 1
    assert subprocess.run(["ip", "address", "show", "dev", taps[0]], capture_output=True, text=True, check=True).stdout.count("inet") == 0


def test_its_screen_and_its_files_are_closed_to_others(cloud, running):
    home = Path(cloud.environ["EDUCLOUD_HOME"]) / "nc"
    screen = home / "instances" / running["id"] / "vnc"
    (guest,) = [p for p in psutil.process_iter(["cmdline"]) if f"guest={running['id']}," in " ".join(p.info["cmdline"] or ())]
    assert (screen / "sock").is_socket()
    assert (screen.stat().st_uid, screen.stat().st_mode & 0o777) == (guest.uids().real, 0o700)
    assert guest.uids().real == 1_900_000_000 + running["display"]["port"]
    assert [c for c in guest.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    blobs = [f.stat() for f in (home / "cache" / "blobs").rglob("*") if f.is_file()]
    assert {(f.st_uid, f.st_mode & 0o777) for f in blobs} == {(0, 0o440)}


def test_stop_start_reboot(cloud, running):
    address = running["nics"][0]["ip"]
    cloud.call("instance", "stop", running["id"])
    assert cloud.json("instance", "show", running["id"])["state"] == "stopped"
    assert not page_of(address)
    cloud.call("instance", "start", running["id"])
    shown = cloud.json("instance", "show", running["id"])
    assert shown["state"] == "running"
    assert shown["nics"][0]["ip"] == address
    assert cloud.soon(lambda: page_of(address)).startswith(running["id"])
    cloud.call("instance", "reboot", running["id"])
    assert cloud.soon(lambda: page_of(address)).startswith(running["id"])


def test_a_trace_goes_through_all_roles(cloud, running):
    trace = cloud.json("task", "trace", running["task"])
    hosts = {e["host"].rsplit("-", 1)[0] for e in trace["events"] if e["host"]}
    assert {"cc", "nc"} <= hosts
    assert any("boot done" in e["what"] for e in trace["events"])


def test_a_domain_killed_behind_our_back_comes_back(cloud, running):
    address = running["nics"][0]["ip"]
    assert cloud.soon(lambda: page_of(address))
    pids = subprocess.run(["pgrep", "-f", f"guest={running['id']}"], capture_output=True, text=True, check=True).stdout.split()
    assert len(pids) == 1
    os.kill(int(pids[0]), signal.SIGKILL)
    assert cloud.soon(lambda: page_of(address).startswith(running["id"]), 90)
    assert cloud.json("instance", "show", running["id"])["state"] == "running"


def program_pids(cloud):
    """Name to pid of every process the supervisor keeps, by the mark in its environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        names = dict(e.split(b"=", 1) for e in environ if b"=" in e)
        if names.get(b"EDUCLOUD_HOME") == cloud.environ["EDUCLOUD_HOME"].encode() and b"EDUCLOUD_PROGRAM" in names:
            found.setdefault(names[b"EDUCLOUD_PROGRAM"].decode(), []).append(int(process.name))
    return found


@pytest.mark.parametrize("program", ["clc-web", "clc-relay", "walrus", "cc", "nc", "sc", "broker", "board", "libvirtd"])
def test_a_killed_process_is_back_by_itself(cloud, running, program):
    old = program_pids(cloud)[program]
    for pid in old:
        # The broker's small helpers end with it, or by themselves.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert cloud.soon(lambda: set(program_pids(cloud).get(program, [])) - set(old), 60)
    assert cloud.soon(cloud.all_up, 120), cloud.states()
    assert cloud.soon(lambda: page_of(running["nics"][0]["ip"]).startswith(running["id"]), 30)
    made = cloud.json("instance", "run", "--image", "tiny", "--name", f"after-{program}")
    assert made["state"] == "running"
    cloud.call("instance", "delete", made["id"], "--yes")


def test_bad_input_is_refused_and_leaves_nothing(cloud):
    before = len(cloud.json("instance", "list"))
    cloud.call("instance", "run", "--image", "no-such-image", code=3)
    cloud.call("instance", "run", "--image", "tiny", "--memory", "0", code=2)
    cloud.call("instance", "run", "--image", "tiny", "--memory", "1000000000M", code=2)
    cloud.call("instance", "run", "--image", "tiny", "--memory", "900G", code=2)
    cloud.call("instance", "run", "--image", "tiny", "--name", "../../etc", code=2)
    cloud.call("task", "cancel", "tsk-00000000", code=3)
    left = [i for i in cloud.json("instance", "list") if i["state"] not in ("deleted", "failed")]
    assert len(left) <= before


def test_a_backing_file_is_refused_with_the_reason(cloud, tmp_path):
    bad = tmp_path / "bad.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", bad, "10M"], check=True)
    cloud.call("image", "upload", str(bad), "--name", "bad", code=1)
    assert not [i for i in cloud.json("image", "list") if i["name"] == "bad" and i["versions"]]
    assert not list((Path(cloud.environ["EDUCLOUD_HOME"]) / "walrus" / "store" / "uploads").iterdir())


def test_a_second_account_sees_only_its_own(cloud, running, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("quiet-river-9041\n")
    cloud.call("user", "add", "pupil", "--password-file", str(secret))
    home = tmp_path / "home"
    home.mkdir()
    cloud.call("login", cloud.url, "--user", "pupil", "--password-file", str(secret), home=home)
    cloud.call("instance", "list", home=home, code=4)
    own = tmp_path / "own"
    own.write_text("quiet-river-9042\n")
    cloud.call("admin", "password", "--password-file", str(own), "--current-password-file", str(secret), home=home)
    assert cloud.json("instance", "list", home=home) == []
    reader = cloud.json("token", "create", "reader", "--read-only", "--days", "1", home=home)
    cloud.call("token", "revoke", reader["id"], home=home)
    cloud.call("instance", "show", running["id"], home=home, code=3)
    cloud.call("instance", "stop", running["id"], home=home, code=3)
    cloud.call("host", "list", home=home, code=4)
    mine = cloud.json("instance", "run", "--image", "tiny", "--name", "mine", home=home)
    assert [i["id"] for i in cloud.json("instance", "list", home=home)] == [mine["id"]]
    cloud.call("instance", "delete", mine["id"], "--yes", home=home)


def test_the_supervisor_killed_and_up_again(cloud, running):
    address = running["nics"][0]["ip"]
    assert cloud.soon(lambda: page_of(address).startswith(running["id"]))
    supervisor = program_pids(cloud)["supervisor"]
    for pid in supervisor:
        os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    assert cloud.all_up()
    assert page_of(address).startswith(running["id"])
    (mine,) = (t["id"] for t in cloud.json("token", "list") if t["current"])
    cloud.call("token", "revoke", mine)
    cloud.call("status", code=4)  # the next up signs in again
    cloud.host("up")
    assert cloud.soon(cloud.all_up)
    assert cloud.soon(lambda: page_of(address)).startswith(running["id"])


def test_down_and_up_bring_the_guests_back(cloud, running):
    cloud.host("down")
    left = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert f"edu{BASE}" not in left
    assert not program_pids(cloud)
    cloud.host("up")
    seen = cloud.json("instance", "show", running["id"])
    runs = f"guest={running['id']}," in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert (seen["state"] == "running" and runs) or (seen["state"], seen["error"]["code"]) == ("starting", "interrupted")
    address = running["nics"][0]["ip"]
    assert cloud.soon(lambda: page_of(address).startswith(running["id"]), 120)


def test_delete_leaves_nothing(cloud, running):
    cloud.call("instance", "delete", running["id"], "--yes")
    home = Path(cloud.environ["EDUCLOUD_HOME"])
    assert not (home / "nc" / "instances" / running["id"]).exists()
    assert not list((home / "cc" / "edge" / "hosts").iterdir())
    assert running["id"] not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    taps = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert f"t{running['id'][4:]}" not in taps
