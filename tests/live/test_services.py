"""The private broker, cache and libvirt of one cloud, for real: they start, come back when killed, and leave nothing."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest
from pymemcache.client.base import Client

from deploy.host import checks, configs, enclose, ground, guests, plan, up
from deploy.host.down import down
from deploy.host.supervision import Supervision
from deploy.host.up import services_up
from luhyaapi import process
from luhyaapi.errors import Refused

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
BASE = "18600"
# No kernel, no disk: the firmware finds nothing to boot and waits, which is all a survivor needs.
GUEST = """<domain type='qemu'><name>survivor</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""


@pytest.fixture(scope="module")
def cloud():
    home = Path(tempfile.mkdtemp(prefix="edu"))
    home.chmod(0o755)  # the services' accounts pass through it
    made = plan.make({"EDUCLOUD_HOME": str(home), "EDUCLOUD_PORT_BASE": BASE}, ROOT, Path(sys.executable), Path("/nonexistent"))
    try:
        services_up(made)
        yield made
    finally:
        down(made)
        left = enclose.ours(str(home))
        guests_left = guests.end_left(made)
        shutil.rmtree(home)
        assert not left
        assert not guests_left


def soon(true, patience_s=30.0):
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.1)
    return False


def management(cloud, path, user="clc", password=None):
    secret = password or cloud.secret(user, "broker-password").read_text("utf-8").strip()
    return httpx.get(f"http://127.0.0.1:{cloud.ports['management']}/api/{path}", auth=(user, secret), timeout=10)


def broker_answers(cloud):
    try:
        return management(cloud, "overview").status_code == 200
    except httpx.HTTPError:
        return False


def board_answers(cloud):
    try:
        client = Client(("127.0.0.1", cloud.ports["memcached"]), connect_timeout=1, timeout=1)
        client.set("k", b"v")
        return client.get("k") == b"v"
    except OSError:
        return False


def libvirt_answers(cloud):
    try:
        guests.virsh(cloud, "version")
    except Exception:
        return False
    return True


ANSWERS = {"broker": broker_answers, "board": board_answers, "libvirtd": libvirt_answers}


def create_guest(cloud, tmp_path):
    file = tmp_path / "guest.xml"
    file.write_text(GUEST, "utf-8")
    guests.virsh(cloud, "create", str(file), timeout_s=60)
    return guests.number(cloud.hypervisor / "run/libvirt/qemu/survivor.pid")


def test_management_lets_only_the_bosses_in(cloud):
    assert management(cloud, "vhosts").status_code == 200
    assert management(cloud, "overview", password="wrong").status_code == 401
    assert management(cloud, "overview", user="guest", password="guest").status_code == 401
    owned = {(p["user"], p["vhost"]) for p in management(cloud, "permissions").json()}
    assert owned == {("clc", "clc"), ("cc", "cc")}


def test_everything_listens_on_loopback_only(cloud):
    own = {str(port) for port in cloud.ports.table.values()}
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout.split("\n")
    found = [line.split()[3].rsplit(":", 1) for line in listening if line and line.split()[3].rsplit(":", 1)[1] in own]
    assert len(found) >= 5
    assert {address for address, _ in found} <= {"127.0.0.1", "[::1]"}


def test_no_name_server_holds_up_who_connects_to_the_broker(cloud):
    """It asks for its host's name with each connection: where a name server does not answer, that took eight seconds."""
    known = configs.enclosure(cloud, "broker")["environ"]
    own = {name: known[name] for name in ("RABBITMQ_NODENAME", "RABBITMQ_DIST_PORT", "RABBITMQ_CONF_ENV_FILE", "ERL_EPMD_PORT", "HOME")}
    asked = ["setpriv", "--reuid=rabbitmq", "--regid=rabbitmq", "--clear-groups", "/usr/lib/rabbitmq/bin/rabbitmqctl", "eval", "inet_db:res_option(lookup)."]
    said = subprocess.run(asked, env={**os.environ, **own}, cwd="/", capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == "[file]"


@pytest.mark.parametrize("program", plan.SERVICES)
def test_a_killed_service_comes_back(cloud, program):
    supervision = Supervision(cloud)
    before = supervision.pid(program)
    os.kill(before, signal.SIGKILL)
    assert soon(lambda: supervision.pid(program) not in (0, before))
    assert soon(lambda: ANSWERS[program](cloud), 60)


def test_services_run_without_root_where_they_can(cloud):
    supervision = Supervision(cloud)
    assert Path(f"/proc/{supervision.pid('broker')}").owner() == "rabbitmq"
    assert Path(f"/proc/{supervision.pid('board')}").owner() == "memcache"


def test_a_guest_survives_libvirt_and_the_supervisor_and_dies_fast(cloud, tmp_path):
    guest = create_guest(cloud, tmp_path)
    supervision = Supervision(cloud)
    libvirtd = supervision.pid("libvirtd")
    os.kill(libvirtd, signal.SIGKILL)
    assert soon(lambda: supervision.pid("libvirtd") not in (0, libvirtd))
    assert soon(lambda: libvirt_answers(cloud))
    assert guests.running(cloud) == ["survivor"]
    assert psutil.Process(guest).ppid() == guests.number(cloud.supervisor / "supervisor.pid"), "who reaps it at once"
    guests.virsh(cloud, "destroy", "survivor")
    assert not Path(f"/proc/{guest}").exists()

    guest = create_guest(cloud, tmp_path)
    services = {program: supervision.pid(program) for program in plan.SERVICES}
    os.kill(guests.number(cloud.supervisor / "supervisor.pid"), signal.SIGKILL)
    assert soon(lambda: not supervision.answers())
    assert all(Path(f"/proc/{pid}").exists() for pid in services.values())
    services_up(cloud)
    assert guests.running(cloud) == ["survivor"]
    assert guests.number(cloud.hypervisor / "run/libvirt/qemu/survivor.pid") == guest
    assert not any(process.alive(pid) for pid in services.values())
    assert all(answers(cloud) for answers in ANSWERS.values())
    guests.virsh(cloud, "destroy", "survivor")


def test_a_second_start_changes_nothing(cloud):
    supervision = Supervision(cloud)
    before = {program: supervision.pid(program) for program in plan.SERVICES}
    began = time.monotonic()
    services_up(cloud)
    assert time.monotonic() - began < 20
    assert {program: supervision.pid(program) for program in plan.SERVICES} == before


def test_libvirt_does_not_see_hardware_nobody_proved(cloud):
    if not Path("/dev/kvm").exists():
        assert not enclose.proved(cloud.accelerator_verdict)
        return
    assert "domain type='kvm'" not in guests.virsh(cloud, "capabilities")


def test_a_port_taken_by_a_stranger_is_named():
    made = plan.make({"EDUCLOUD_HOME": "/tmp/edu-none", "EDUCLOUD_PORT_BASE": "28600"}, ROOT, Path(sys.executable), Path("/nonexistent"))
    code = f"import socket; s = socket.create_server(('127.0.0.1', {made.ports['amqp']})); print('ready', flush=True); s.accept()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as stranger:
        try:
            assert stranger.stdout.readline() == "ready\n"
            assert checks.strangers(made) == [f"{made.ports['amqp']} (amqp): {enclose.command(stranger.pid)}, process {stranger.pid}"]
        finally:
            stranger.kill()


def test_reset_spares_a_folder_that_is_not_ours():
    with tempfile.TemporaryDirectory(prefix="edu") as home:
        precious = Path(home) / "thesis.txt"
        precious.write_text("years of work", "utf-8")
        env = os.environ | {"EDUCLOUD_HOME": home, "EDUCLOUD_PORT_BASE": "28600"}
        done = subprocess.run([sys.executable, "-m", "deploy.host", "reset"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "not a folder of eduCloud" in done.stderr
        assert precious.exists()


def test_an_account_that_is_missing_is_named():
    with pytest.raises(Exception, match="nobody-of-ours"):
        ground.owner("nobody-of-ours")


def test_refusal_names_what_is_not_installed(monkeypatch):
    monkeypatch.setitem(checks.PROGRAMS, "walrus", ("/usr/sbin/no-such-program",))
    with pytest.raises(Refused, match="no-such-program"):
        checks.preconditions(plan.make({}, ROOT, Path(sys.executable), Path("/nonexistent")))


def test_a_libvirt_that_runs_and_answers_nobody_is_started_again(cloud, monkeypatch):
    supervision = Supervision(cloud)
    before = supervision.pid("libvirtd")
    monkeypatch.setattr(up, "_LIBVIRT_ASKED_S", 1.0)
    monkeypatch.setattr(up, "_LIBVIRT_PATIENCE_S", 1.5)
    os.kill(before, signal.SIGSTOP)
    up.start_services(cloud, supervision)
    assert supervision.pid("libvirtd") not in (0, before)
    assert libvirt_answers(cloud)
