"""The examination of a machine: each judgement when all is well and when it is not, and what the probes read."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from clc.services import own
from deploy.doctor import __main__ as program
from deploy.doctor import examination, machine, probes, running, site
from deploy.doctor.finding import fail, ok, warn, worst
from deploy.host import plan as plans
from luhyaapi import conf
from luhyaapi.edge import connections
from luhyaapi.wire import identity
from tests.support.cli_calls import Cli, cli_fixture

_client = cli_fixture

DAY_S = 86400.0
NOWHERE = "/nonexistent/educloud"
ETC = site.ETC
EVERYBODY = set(plans.ROLES)
ALL = {p.name for p in machine.PROGRAMS}


def verdict(accelerator, boot="b"):
    return json.dumps({"accelerator": accelerator, "why": "it said so", "key": {"boot": boot}})


JUDGED = {
    "python": (machine.python((3, 11, 2)), "ok"),
    "python, old": (machine.python((3, 9, 1)), "fail"),
    "packages": (machine.packages({"a-b": "1"}, {"A_b": "1", "more": "2"}), "ok"),
    "packages, missing": (machine.packages({"a": "1", "b": "1"}, {"a": "1"}), "fail"),
    "packages, another": (machine.packages({"a": "1"}, {"a": "2"}), "warn"),
    "packages, no environment": (machine.packages({"a": "1"}, None), "fail"),
    "disk": (machine.disk("/x", 20_000), "ok"),
    "disk, little": (machine.disk("/x", 5000), "warn"),
    "disk, too little": (machine.disk("/x", 100), "fail"),
    "memory": (machine.memory(4096, 2048, EVERYBODY), "ok"),
    "memory, enough for one role": (machine.memory(1024, 512, {"sc"}), "ok"),
    "memory, too little": (machine.memory(1024, 512, EVERYBODY), "fail"),
    "memory, all taken": (machine.memory(4096, 100, EVERYBODY), "warn"),
    "clock": (machine.clock(1_800_000_000), "ok"),
    "clock, at the beginning of time": (machine.clock(3600), "fail"),
    "offset": (machine.clock_offset("http://boss", -0.4), "ok"),
    "offset, some": (machine.clock_offset("http://boss", 12), "warn"),
    "offset, large": (machine.clock_offset("http://boss", -400), "fail"),
    "offset, not known": (machine.clock_offset("http://boss", None), "warn"),
    "kvm": (machine.accelerator(is_there=True, verdict=verdict("kvm"), boot="b"), "ok"),
    "kvm, not there": (machine.accelerator(is_there=False, verdict="", boot="b"), "warn"),
    "kvm, not proved": (machine.accelerator(is_there=True, verdict="", boot="b"), "warn"),
    "kvm, proved before the last boot": (machine.accelerator(is_there=True, verdict=verdict("kvm", "a"), boot="b"), "warn"),
    "kvm, refuted": (machine.accelerator(is_there=True, verdict=verdict("tcg"), boot="b"), "warn"),
    "kvm, a broken file": (machine.accelerator(is_there=True, verdict="[1", boot="b"), "warn"),
    "kvm, another file": (machine.accelerator(is_there=True, verdict="[1]", boot="b"), "warn"),
    "connections": (machine.connections(60, 1000), "ok"),
    "connections, none are kept": (machine.connections(0, 0), "ok"),
    "connections, many": (machine.connections(800, 1000), "warn"),
    "connections, all": (machine.connections(999, 1000), "fail"),
    "enclosure": (machine.enclosure(""), "ok"),
    "enclosure, not allowed": (machine.enclosure("No permissions to create new namespace"), "fail"),
    "config": (running.config("cc", "cc.toml", ""), "ok"),
    "config, wrong": (running.config("cc", "cc.toml", "host.x"), "fail"),
    "ports": (running.ports([], is_root=True), "ok"),
    "ports, taken": (running.ports(["8600: nginx"], is_root=True), "fail"),
    "ports, by whom cannot be seen": (running.ports(["8600: ?"], is_root=False), "warn"),
    "service": (running.service("broker", "h:1", ""), "ok"),
    "service, silent": (running.service("broker", "h:1", "refused"), "fail"),
    "door": (running.door("nc", "http://h", 200, []), "ok"),
    "door, not ready": (running.door("nc", "http://h", 503, ["not connected to the CC"]), "fail"),
    "door, silent": (running.door("nc", "http://h", 0, ["refused"]), "fail"),
    "door, of somebody else": (running.door("nc", "http://h", 404, []), "fail"),
    "joined": (running.joined("nc", host="nc-1", has_token=False, token_file=""), "ok"),
    "joined, waits": (running.joined("nc", host="", has_token=True, token_file="t"), "warn"),
    "joined, without a token": (running.joined("nc", host="", has_token=False, token_file="t"), "fail"),
    "certificate": (running.certificate("nc", "tls.pem", 0, 400 * DAY_S, 10 * DAY_S), "ok"),
    "certificate, ends soon": (running.certificate("nc", "tls.pem", 0, 20 * DAY_S, 10 * DAY_S), "warn"),
    "certificate, ended": (running.certificate("nc", "tls.pem", 0, 5 * DAY_S, 10 * DAY_S), "fail"),
    "certificate, of tomorrow": (running.certificate("nc", "tls.pem", 11 * DAY_S, 400 * DAY_S, 10 * DAY_S), "fail"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_each_judgement(case):
    found, health = JUDGED[case]
    assert found.health == health
    assert found.what
    assert bool(found.why) == bool(found.next) == (health != "ok"), "what is not well says why and what to do"


def test_programs_are_those_the_roles_need():
    assert [f.health for f in machine.programs(EVERYBODY, ALL)] == ["ok"]
    missing = machine.programs(EVERYBODY, ALL - {"dnsmasq", "nft"})
    assert [(f.health, f.what.split()[0]) for f in missing[:2]] == [("fail", "dnsmasq"), ("warn", "nft")]
    assert "apt-get install dnsmasq-base" in missing[0].next
    assert machine.programs({"sc"}, set()) == []
    assert {f.what.split()[0] for f in machine.programs({"walrus"}, set())} == {"qemu-img", "bwrap"}
    assert {f.what.split()[0] for f in machine.programs({"nc"}, set())} == {"libvirtd", "virsh", "qemu-system-x86_64", "qemu-img", "ip"}
    assert [f.health for f in machine.programs({"clc"}, ALL - {"memcached"}, {"memcached"})] == ["ok"]


def test_what_guests_networks_need():
    good = machine.network(has_bridges=True, has_tun=True, forwards=True, roles={"nc"})
    assert [f.health for f in good] == ["ok"] * 3
    bad = machine.network(has_bridges=False, has_tun=False, forwards=False, roles={"cc", "nc"})
    assert [f.health for f in bad] == ["fail", "warn", "fail"]
    assert [f.health for f in machine.network(has_bridges=True, has_tun=False, forwards=True, roles={"cc"})] == ["ok", "ok"]
    assert machine.network(has_bridges=False, has_tun=False, forwards=False, roles={"walrus"}) == []


def test_connections_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "FOLDER", tmp_path)
    assert probes.connections(tmp_path) == connections.look() == (0, 0)
    (tmp_path / "nf_conntrack_count").write_text("249\n")
    (tmp_path / "nf_conntrack_max").write_text("262\n")
    assert probes.connections(tmp_path) == connections.look() == (249, 262)
    assert connections.is_full(249, 262)
    assert not connections.is_full(248, 262)
    assert not connections.is_full(0, 0)


def test_secrets_are_for_their_owners():
    assert machine.secrets([]) == []
    assert [f.health for f in machine.secrets([("a", 0o100600), ("b", 0o100400)])] == ["ok"]
    (found,) = machine.secrets([("a", 0o100600), ("/b", 0o100640)])
    assert (found.health, "0640" in found.why, "chmod 600 /b" in found.next) == ("fail", True, True)


def test_the_supervisor_and_its_programs():
    assert [f.health for f in running.supervisor(None, {})] == ["fail"]
    states = {"broker": "RUNNING", "nc": "BACKOFF", "cc": "STOPPED", "sc": "FATAL"}
    found = running.supervisor(states, {"cc": "/log/cc"})
    assert [f.health for f in found] == ["ok", "ok", "warn", "fail", "fail"]
    assert "/log/cc" in found[3].next


def test_heartbeats_by_their_age():
    hosts = [
        {"id": "nc-1", "role": "nc", "name": "a", "state": state, "last_heartbeat_age_s": age_s}
        for state, age_s in (("up", 2.0), ("up", 60.0), ("silent", 60.0), ("new", None), ("up", None))
    ]
    found = running.heartbeats(hosts)
    assert [f.health for f in found] == ["ok", "warn", "fail", "warn", "fail"]
    assert running.heartbeats(hosts[1:2], is_board_up=False)[0].health == "ok"
    assert found[3].next == "educloud host approve nc-1"
    assert "never heard" in found[4].why


def test_the_worst_decides():
    assert worst([]) == worst([ok("a", "b")]) == "ok"
    assert worst([ok("a", "b"), warn("a", "b", "c", "d")]) == "warn"
    assert worst([fail("a", "b", "c", "d"), warn("a", "b", "c", "d")]) == "fail"


# what is set up


def a_plan(home):
    return plans.make({"EDUCLOUD_HOME": str(home)}, examination.ROOT, examination.ROOT / ".venv/bin/python", home / "none.toml")


def test_roles_are_found_where_make_up_and_where_people_put_them(tmp_path, tmp_path_factory):
    home, etc = tmp_path_factory.mktemp("h", numbered=True), tmp_path / "etc"
    (home / "cc").mkdir(parents=True)
    etc.mkdir()
    assert site.look(a_plan(home), etc).names == EVERYBODY
    (home / "cc" / "cc.toml").write_text('[host]\nstate = "/somewhere"\nlisten = "0.0.0.0"\n[broker]\nhost = "10.0.0.1"\n')
    (etc / "nc.toml").write_text("[host\n")
    found = site.look(a_plan(home), etc)
    cc, nc = found.roles
    assert (cc.name, str(cc.state), cc.address, cc.is_local("broker"), cc.trouble) == ("cc", "/somewhere", "127.0.0.1", False, "")
    assert "TOMLDecodeError" in nc.trouble
    assert found.names == {"cc", "nc"}
    assert not found.is_one_host_cloud


def test_what_an_operator_set_wins_and_is_named_by_its_file(tmp_path):
    (tmp_path / "clc.toml").write_text('host = 1\n[console]\nport = 8600\nsecret_file = "/a"\n[broker]\nport = 8610\n')
    theirs = tmp_path / "clc.local.toml"
    theirs.write_text('[console]\nport = 8443\ncertificate = "/own.pem"\n')
    (clc,) = site.look(a_plan(Path("/none/none")), tmp_path).roles
    assert clc.door("console", "port") == "https://127.0.0.1:8443"
    assert (str(clc.path("console", "secret_file")), clc.get("broker", "port"), clc.get("board", "port")) == ("/a", 8610, 8614)
    assert clc.where("1 error\nconsole.certificate\n  no") == clc.where("console\n  both are needed") == theirs
    assert clc.where("1 error\nbroker.port\n  no") == clc.where() == tmp_path / "clc.toml"
    found = list(examination._of_setup(site.look(a_plan(Path("/none/none")), tmp_path)))
    assert f"clc.toml and {theirs}" in next(f.what for f in found if f.name == "clc")
    theirs.write_text("[console\n")
    (clc,) = site.look(a_plan(Path("/none/none")), tmp_path).roles
    assert (clc.file, "TOMLDecodeError" in clc.trouble) == (theirs, True)


def test_what_only_others_may_look_at_is_not_taken_for_absent():
    home = Path(tempfile.mkdtemp())  # not below a folder of the tests, which is closed itself
    home.chmod(0o755)
    for closed in ("clc", "supervisor"):
        (home / closed).mkdir(mode=0o700)
    (home / ".educloud").write_text("full\n")
    (home / "clc/clc.toml").write_text("")
    (home / "supervisor/supervisord.conf").write_text("")
    there, plan = os.geteuid(), a_plan(home)
    try:
        if there == 0:
            os.seteuid(65534)
        else:
            (home / "clc").chmod(0)
        found = site.look(plan, home / "etc")
        assert (found.roles, found.closed, found.names, found.is_one_host_cloud) == ((), ("clc",), {"clc"}, True)
        said = [*examination._of_setup(found), *examination._of_running(found)]
    finally:
        os.seteuid(there)
        (home / "clc").chmod(0o700)
        shutil.rmtree(home)
    assert [(f.name, f.health, f.next) for f in said] == [("rights", "warn", "Run it as root.")]
    assert "the configuration of clc" in said[0].why


def test_an_own_certificate_that_ends_is_made_anew_by_what_is_said(tmp_path):
    own.make(tmp_path)
    own.make_tls(tmp_path, {"localhost"})
    shown = tmp_path / "identity/tls.pem"
    begins_s, ends_s = probes.validity(shown)
    found = running.certificate("clc", str(shown), begins_s, ends_s, ends_s - DAY_S)
    assert f"Remove {shown}, then `make down` and `make up`" in found.next
    before = shown.read_text()
    shown.unlink()
    own.make_tls(tmp_path, {"localhost"})
    assert shown.read_text() != before
    assert "host remove" in running.certificate("cc", "tls.pem", 0, DAY_S, DAY_S).next


def test_the_end_of_a_signing_certificate_is_nobodys_concern(tmp_path, monkeypatch):
    made = own.make(tmp_path)
    monkeypatch.setattr(identity, "_YEARS", 0)
    ended = identity.certify(made.authority_key, made.authority, identity.request(made.key, "nc-00000001"), "nc-00000001")
    assert identity.public_key(ended, made.authority).public_bytes_raw() == made.key.public_key().public_bytes_raw()


def test_defaults_are_those_of_the_roles():
    settings = conf.Settings()
    for (group, name), value in site.DEFAULTS.items():
        assert getattr(getattr(settings, group), name) == value, (group, name)


# probes


def test_the_lock_is_read_without_what_is_for_others():
    text = 'a==1 \\\n    --hash=x\nB.c==2.0\nonly==3 ; sys_platform == "win32" \\\n    # via a\n'
    assert machine.locked(text) == {"a": "1", "b-c": "2.0"}
    assert probes.installed(examination.ROOT)["Django"]


def test_without_a_virtual_environment_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert probes.installed(tmp_path) is None
    package = tmp_path / ".venv/lib/python3.11/site-packages/x-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Name: x\nVersion: 1\n")
    assert probes.installed(tmp_path) == {"x": "1"}


def test_files_are_read_gently(tmp_path):
    file = tmp_path / "f"
    assert (probes.text(file), probes.modes([file]), probes.membership(tmp_path)) == ("", [], {})
    file.write_bytes(b"\xff")
    file.chmod(0o640)
    assert (probes.text(file), probes.modes([file])[0][1] & 0o777) == ("", 0o640)
    (tmp_path / "membership.json").write_text("{broken")
    assert probes.membership(tmp_path) == {}
    (tmp_path / "membership.json").write_text('{"host": "nc-1"}')
    assert probes.membership(tmp_path) == {}, "the certificate comes last"
    (tmp_path / "certificate.pem").write_text("none")
    assert probes.membership(tmp_path) == {"host": "nc-1"}
    assert probes.validity(tmp_path / "certificate.pem") is None
    assert probes.validity(file) is None


def test_places_of_addresses():
    assert probes.place_of("amqp://a:b@10.0.0.1:5672/x") == ("10.0.0.1", 5672, False)
    assert probes.place_of("amqps://a:b@10.0.0.1:5671/x") == ("10.0.0.1", 5671, True)
    assert probes.place_of("amqp://[broken:x") == probes.place_of("") == ("", 0, False)
    role = site.Role("clc", ETC, {"host": {"tls": True, "listen": "::1", "door_port": 7}, "console": {"port": 8}})
    assert (role.door("host", "door_port"), role.door("console", "port")) == ("https://[::1]:7", "https://[::1]:8")


def test_the_machine_is_measured(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\n")
    assert probes.memory_mib(meminfo) == (2000, 1000)
    assert probes.free_mib(tmp_path / "not" / "yet") > 0
    assert not probes.has_bridges(tmp_path / "bridge", tmp_path)
    (tmp_path / "modules.dep").write_text("kernel/net/bridge/bridge.ko: \n")
    assert probes.has_bridges(tmp_path / "bridge", tmp_path)
    assert probes.programs_there([machine.Program("a", ("/nonexistent", str(meminfo)), "a", frozenset())]) == {"a"}
    assert probes.libvirt("nonsense:///x")


def test_a_configuration_is_checked_as_its_role_would(tmp_path, monkeypatch):
    file = tmp_path / "cc.toml"
    file.write_text('[host]\nrole = "cc"\n')
    monkeypatch.setenv(conf.CONFIG_VARIABLE, "/the/one/before")
    assert probes.config_trouble(file) == ""
    file.write_text("[host]\nroles = 1\n")
    assert "roles" in probes.config_trouble(file)
    assert os.environ[conf.CONFIG_VARIABLE] == "/the/one/before"


# the whole


def test_a_machine_with_nothing_set_up(tmp_path):
    found = examination.examine({"EDUCLOUD_HOME": NOWHERE}, tmp_path)
    assert {"python", "packages", "programs", "disk", "memory", "clock", "kvm", "network", "roles", "ports"} <= {f.name for f in found}


def test_a_choice_that_cannot_be_is_said(tmp_path):
    (found,) = examination.examine({"EDUCLOUD_PORT_BASE": "1"}, tmp_path)
    assert (found.health, "EDUCLOUD_PORT_BASE" in found.what) == ("fail", True)
    assert examination.is_set_up({"EDUCLOUD_PORT_BASE": "1"})


def test_it_runs_on_a_bare_python():
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "deploy.doctor", "--json"], cwd=examination.ROOT, capture_output=True, text=True, check=False,
        timeout=60, env={"EDUCLOUD_HOME": NOWHERE, "PATH": "/usr/bin"},
    )
    found = json.loads(ended.stdout)
    assert ended.returncode == int(any(f["health"] == "fail" for f in found))
    assert "make doctor" in next(f for f in found if f["name"] == "running")["next"]


def test_lines_for_people():
    shown = program.lines([fail("disk", "full", "no room", "make some").form(), ok("a", "fine").form()])
    assert shown == ["fail  disk  full", "            why:  no room", "            next: make some", "ok    a     fine"]
    assert program.lines([]) == []


def test_the_client_alone_needs_nothing_of_the_machine(cli: Cli) -> None:
    cli.environ["EDUCLOUD_HOME"] = NOWHERE
    good = cli("doctor", "--json")
    assert good.code == 0
    assert [(f["name"], f["health"]) for f in good.json] == [("python", "ok"), ("context", "ok"), ("cloud", "ok")]
    cli.environ = {"EDUCLOUD_HOME": NOWHERE}
    both = cli("doctor", "--json")
    assert {"packages", "disk", "context"} <= {f["name"] for f in both.json}
    assert "make up" in next(f["next"] for f in both.json if f["name"] == "context")


def test_what_the_cloud_says_is_told(cli: Cli) -> None:
    cli.environ["EDUCLOUD_HOME"] = NOWHERE
    parts = [{"name": n, "health": h, "line": "so it is"} for n, h in (("broker", "bad"), ("nc", "warn"), ("board", "ok"))]
    hosts = [{"id": "nc-1", "role": "nc", "name": "a", "state": "silent", "last_heartbeat_age_s": 99}]
    cli.line.instead(200, "application/json", json.dumps({"health": "bad", "parts": parts, "hosts": hosts}).encode())
    found = cli("doctor", "--json")
    assert found.code == 1
    assert [f["health"] for f in found.json if f["name"] in ("broker", "nc", "heartbeat")] == ["fail", "warn", "fail"]


def test_make_doctor_runs_in_an_environment_without_the_client(tmp_path):
    """A role that joins is installed without it; what it has is enough to look at what runs."""
    shutil.copy(examination.ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 1\necho "$@"\n')
    python.chmod(0o755)
    ended = subprocess.run(["make", "-s", "doctor"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "-m deploy.doctor\n"
