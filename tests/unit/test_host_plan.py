"""One host's plan: ports, paths and files of two clouds never meet, and every file reads back."""

import json
import os
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest

from deploy.host import account, checks, configs, enclose, ground, keeper, plan, up
from deploy.host.supervision import last_words
from luhyaapi import conf
from luhyaapi.errors import Refused

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/bin/python"
NO_FILE = Path("/nonexistent/educloud.toml")


def make(home, config_file=NO_FILE, **environ):
    return plan.make({"EDUCLOUD_HOME": str(home), **environ}, ROOT, PYTHON, config_file)


def me(_user):
    return ground.Owner(os.getuid(), os.getgid())


@pytest.fixture
def cloud(tmp_path_factory):
    # pytest's own folders have names too long for a socket below them
    home = tmp_path_factory.mktemp("h", numbered=True)
    made = make("/var/lib/educloud")
    return plan.Plan(home, made.ports, made.subnet, made.program, made.python)


def test_defaults():
    made = plan.make({}, ROOT, PYTHON, NO_FILE)
    assert (made.home, made.ports["console"], made.subnet, made.bridge) == (Path("/var/lib/educloud"), 8600, "10.231.0.0/24", "edu8600")
    assert made.ports.displays == range(8700, 9100)


def test_ports_are_distinct():
    ports = make("/tmp/a").ports
    every = [*ports.table.values(), *ports.displays]
    assert len(every) == len(set(every))


def test_two_clouds_share_nothing():
    one, two = make("/tmp/a"), make("/tmp/b", EDUCLOUD_PORT_BASE="9100")
    assert not {*one.ports.table.values(), *one.ports.displays} & {*two.ports.table.values(), *two.ports.displays}
    for name in ("bridge", "subnet", "broker_node", "context", "supervisor_socket", "libvirt_uri"):
        assert getattr(one, name) != getattr(two, name), name


def test_the_network_of_the_guests_stays_when_it_is_not_named_again(tmp_path_factory):
    home = tmp_path_factory.mktemp("h", numbered=True)
    assert make(home).choices.subnet == "", "what nobody chose may be another one in another version"
    named = make(home, EDUCLOUD_SUBNET="10.99.100.0/24")
    named.choices_file.parent.mkdir()
    named.choices_file.write_text(named.choices.text())
    assert make(home).subnet == "10.99.100.0/24"
    assert make(home, EDUCLOUD_SUBNET="10.99.101.0/24").choices.subnet == "10.99.101.0/24"
    file = home / "educloud.toml"
    file.write_text('subnet = "10.99.102.0/24"')
    assert make(home, file).subnet == "10.99.102.0/24"


def test_every_default_subnet_is_private_to_its_base():
    seen = {make("/tmp/a", EDUCLOUD_PORT_BASE=str(base)).subnet for base in range(1100, 65035, 500)}
    assert len(seen) == len(range(1100, 65035, 500))


@pytest.mark.parametrize(
    "environ",
    [
        {"EDUCLOUD_PORT_BASE": "80"}, {"EDUCLOUD_PORT_BASE": "65200"}, {"EDUCLOUD_PORT_BASE": "many"}, {"EDUCLOUD_PORT_BASE": "-1"},
        {"EDUCLOUD_SUBNET": "10.0.0.1/24"}, {"EDUCLOUD_SUBNET": "10.0.0.0/30"}, {"EDUCLOUD_SUBNET": "here"},
        {"EDUCLOUD_HOME": "relative/path"}, {"EDUCLOUD_HOME": "/"}, {"EDUCLOUD_HOME": "/var"}, {"EDUCLOUD_HOME": "/tmp/with space"},
        {"EDUCLOUD_HOME": "/tmp/%(here)s"}, {"EDUCLOUD_HOME": "/tmp/" + "long" * 20},
    ],
)  # fmt: skip
def test_bad_choices_are_named(environ):
    with pytest.raises(Refused) as refusal:
        plan.make({"EDUCLOUD_HOME": "/tmp/a", **environ}, ROOT, PYTHON, NO_FILE)
    assert refusal.value.code == "invalid"
    assert next(iter(environ)) in refusal.value.what


def test_file_is_read_and_environment_wins(tmp_path):
    file = tmp_path / "educloud.toml"
    file.write_text('home = "/srv/cloud"\nport_base = 20000\nsubnet = "10.9.0.0/24"\n', "utf-8")
    made = plan.make({}, ROOT, PYTHON, file)
    assert (made.home, made.ports.base, made.subnet) == (Path("/srv/cloud"), 20000, "10.9.0.0/24")
    assert plan.make({"EDUCLOUD_PORT_BASE": "21000"}, ROOT, PYTHON, file).ports.base == 21000
    file.write_text("home = [", "utf-8")
    with pytest.raises(Refused, match="cannot be read"):
        plan.make({}, ROOT, PYTHON, file)


@pytest.mark.parametrize("role", plan.ROLES)
def test_role_configuration_loads(tmp_path, monkeypatch, role):
    for name in [n for n in os.environ if n.startswith("EDUCLOUD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(conf.CONFIG_VARIABLE, "")
    made = make("/tmp/a", EDUCLOUD_PORT_BASE="18600")
    file = tmp_path / "role.toml"
    file.write_text(configs.role(made, role), "utf-8")
    settings = conf.load(file)
    assert settings.host.role == role
    assert settings.host.state == made.home / role
    assert settings.host.door_port == made.ports[f"{role}_door"]
    given = tomllib.loads(file.read_text("utf-8"))
    for group, fields in given.items():
        for name in fields:
            assert name in type(getattr(settings, group)).model_fields, f"{group}.{name}"
    # nothing but the boss's door points to another role
    others = [str(made.home / other) for other in plan.ROLES if other != role]
    assert not any(other + "/" in json.dumps(given) for other in others)


def test_each_child_dials_its_boss():
    made = make("/tmp/a")
    doors = {role: tomllib.loads(configs.role(made, role)).get("boss", {}).get("door") for role in plan.ROLES}
    clc, cc = "http://127.0.0.1:8607", "http://127.0.0.1:8603"
    assert doors == {"clc": None, "walrus": clc, "cc": clc, "nc": cc, "sc": cc}


def test_prepare_makes_closed_files_once(cloud):
    first = ground.prepare(cloud, me)
    assert {"broker", "libvirtd", "clc-web", "nc", "supervisor"} <= first
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in cloud.home.rglob("*") if p.is_file() and p.name not in ("boot-id", ".educloud")}
    assert ground.prepare(cloud, me) == set()
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before} == before
    for path in before:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    for role in plan.ROLES:
        assert stat.S_IMODE((cloud.home / role).stat().st_mode) == (0o711 if role == "nc" else 0o700)


def test_a_changed_port_names_who_must_restart(cloud):
    ground.prepare(cloud, me)
    cloud.config("walrus").write_text("", "utf-8")
    assert ground.prepare(cloud, me) == {"walrus"}


def test_secrets_differ_and_a_link_is_not_followed(cloud, tmp_path):
    ground.prepare(cloud, me)
    secrets = [cloud.secret(owner, name).read_text("utf-8") for owner, name in ground._SECRETS]
    assert len(set(secrets)) == len(secrets)
    victim = tmp_path / "victim"
    victim.write_text("theirs", "utf-8")
    target = cloud.config("clc")
    target.unlink()
    target.symlink_to(victim)
    ground.prepare(cloud, me)
    assert victim.read_text("utf-8") == "theirs"
    assert not target.is_symlink()
    secret = cloud.secret("clc", "session-secret")
    secret.unlink()
    secret.symlink_to(victim)
    ground.prepare(cloud, me)
    assert "theirs" not in secret.read_text("utf-8")


def test_the_last_boots_process_numbers_are_forgotten(cloud):
    ground.prepare(cloud, me)
    stale = cloud.hypervisor / "run/libvirt/stale.pid"
    stale.write_text("1", "ascii")
    ground.prepare(cloud, me)
    assert stale.exists()
    (cloud.hypervisor / "run/boot-id").write_text("an earlier one", "ascii")
    ground.prepare(cloud, me)
    assert not stale.exists()


def test_broker_definitions_bind_each_boss_to_its_own_vhost():
    form = json.loads(configs.broker_definitions({"clc": "one", "cc": "two"}))
    assert {(p["user"], p["vhost"]) for p in form["permissions"]} == {("clc", "clc"), ("cc", "cc")}
    assert "one" not in json.dumps(form)
    assert configs.password_hash("a") != configs.password_hash("b")


def test_programs_without_need_are_not_root():
    made = make("/tmp/a")
    assert {p for p in plan.PROGRAMS if made.user(p) == "root"} == {"libvirtd", "cc", "nc"}


def test_what_is_in_the_way_of_an_account_is_found(tmp_path):
    tmp_path.chmod(0o755)
    shut, inner, beside = tmp_path / "shut", tmp_path / "shut/deeper/inner", tmp_path / "beside"
    for folder in (inner, inner / "below", beside):
        folder.mkdir(parents=True)
    shut.chmod(0o700)
    ways = enclose.closed([inner, inner / "below", beside], "nobody")
    outer = {above for path, above in enclose.closed([beside], "nobody").items()}
    # pytest's own folder may itself be closed; then that is what is in the way
    assert ways[inner] == next(iter(outer), shut)
    assert inner / "below" not in ways
    assert enclose.closed([inner], "root") == {}


def test_a_role_needs_its_folder_the_programs_and_the_interpreter():
    made = plan.make({}, ROOT, PYTHON, NO_FILE, (Path("/opt/python"),))
    assert configs.enclosure(made, "walrus")["needs"] == ["/var/lib/educloud/walrus", str(ROOT), "/opt/python"]
    assert configs.enclosure(made, "broker")["needs"] == ["/var/lib/educloud/broker"]


def test_an_update_of_the_programs_is_noticed(tmp_path):
    file = tmp_path / "nc/role.py"
    file.parent.mkdir()
    file.write_text("a", "utf-8")
    before = ground.release(tmp_path)
    assert ground.release(tmp_path) == before
    file.write_text("ab", "utf-8")
    assert ground.release(tmp_path) != before


@pytest.mark.parametrize("part", ["deploy/processes.py", "deploy/host/enclose.py", "requirements.txt"])
def test_an_update_of_what_starts_them_is_noticed_too(tmp_path, part):
    before = ground.release(tmp_path)
    (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / part).write_text("a", "utf-8")
    assert ground.release(tmp_path) != before


def test_another_keeper_takes_another_supervisor(cloud, tmp_path):
    ground.prepare(cloud, me)
    assert ground.prepare(cloud, me) == set()
    other = tmp_path / "program"
    (other / "deploy/host").mkdir(parents=True)
    (other / "deploy/host/keeper.py").write_text("another")
    assert "supervisor" in ground.prepare(plan.Plan(cloud.home, cloud.ports, cloud.subnet, other, cloud.python), me)


def test_a_setting_of_the_operator_restarts_the_programs_of_its_role(cloud):
    ground.prepare(cloud, me)
    for role, programs in (("clc", {"clc-web", "clc-relay"}), ("nc", {"nc"})):
        file = cloud.own_settings(role)
        for text in ("[cache]\nquota_mib = 1\n", "[cache]\nquota_mib = 2\n"):
            file.write_text(text)
            assert ground.prepare(cloud, me) == programs
            assert ground.prepare(cloud, me) == set()
        file.unlink()
        assert ground.prepare(cloud, me) == programs


@pytest.mark.parametrize(("role", "text", "named", "by"), [
    ("cc", "[network]\nsubnet = '10.9.0.0/24'", "network.subnet", "EDUCLOUD_SUBNET"), ("nc", "[host]\ndoor_port = 1", "host.door_port", "EDUCLOUD_PORT_BASE"),
    ("clc", "[host]\nlisten = '0.0.0.0'", "host.listen", "LISTEN"), ("clc", "[console]\nport = 443", "console.port", "EDUCLOUD_PORT_BASE"),
    ("nc", "[network]\nbridge = 'br0'", "network.bridge", "EDUCLOUD_PORT_BASE"), ("walrus", "[boss]\ndoor = 'http://x:1'", "boss.door", "make join BOSS="),
])
def test_what_all_programs_agree_in_no_role_sets_for_itself(cloud, role, text, named, by):
    cloud.own_settings(role).parent.mkdir(parents=True)
    cloud.own_settings(role).write_text(text)
    with pytest.raises(Refused, match=named) as e:
        checks.settings(cloud)
    assert by in e.value.hint
    cloud.own_settings(role).write_text("[cache]\nquota_mib = 1\n[network]\ncampus = 'eth1'\n[hypervisor]\nuri = 'xen:///system'")
    checks.settings(cloud)
    cloud.own_settings(role).write_text("[cache")
    with pytest.raises(Refused, match=r"local\.toml cannot be read"):
        checks.settings(cloud)


def test_every_setting_that_is_owned_is_one():
    for group, fields in configs.OWNED.items():
        assert set(fields) <= set(type(getattr(conf.Settings(), group)).model_fields)


class Running:
    """A supervisor all of whose programs run since ``began``; what it is told is noted."""

    def __init__(self, began):
        self.began, self.told = began, set()

    def answers(self):
        return True

    def states(self):
        return dict.fromkeys(plan.PROGRAMS, "RUNNING")

    def started(self):
        return dict.fromkeys(plan.PROGRAMS, self.began)

    def stop(self, program):
        self.told.add(("stop", program))

    def restart(self, program):
        self.told.add(("restart", program))


def test_a_role_that_changed_stops_until_its_database_is_as_the_new_one_wants_it(cloud):
    ground.prepare(cloud, me)
    running = Running(began=2**40)
    up._supervise(cloud, running, {"broker", "cc", "clc-web"})
    assert running.told == {("restart", "broker"), ("stop", "cc"), ("stop", "clc-web")}


def test_what_an_earlier_run_left_unfinished_is_done(cloud):
    """It was cut after the files were written: nothing differs any more, and what runs read the old ones."""
    ground.prepare(cloud, me)
    later = int(cloud.config("nc").stat().st_mtime) + 10
    running = Running(began=later)
    up._supervise(cloud, running, set())
    assert running.told == set()
    os.utime(cloud.config("nc"), (later + 5, later + 5))
    up._supervise(cloud, running, set())
    assert running.told == {("stop", "nc")}


def test_an_old_join_token_is_replaced_until_the_role_joined(cloud):
    ground.prepare(cloud, me)
    assert ground.join_tokens_missing(cloud) == list(plan.ACTING)
    for role in plan.ACTING:
        cloud.join_token(role).write_text("t", "utf-8")
    assert ground.join_tokens_missing(cloud) == []
    os.utime(cloud.join_token("nc"), (1, 1))
    assert ground.join_tokens_missing(cloud) == ["nc"]
    cloud.certificate("nc").parent.mkdir()
    cloud.certificate("nc").write_text("c", "utf-8")
    assert ground.join_tokens_missing(cloud) == []


def test_the_lock_is_held_by_one(tmp_path):
    home = tmp_path / "home"
    with ground.alone(home), pytest.raises(Exception, match="busy"), ground.alone(home, patience_s=0):
        pass
    with ground.alone(home, patience_s=0):
        pass


def test_kvm_is_believed_only_after_a_proof_in_this_boot(tmp_path):
    verdict = tmp_path / "accelerator.json"
    assert not enclose.proved(verdict)
    for accelerator, boot, believed in (("kvm", "an earlier one", False), ("tcg", enclose.boot_id(), False), ("kvm", enclose.boot_id(), True)):
        verdict.write_text(json.dumps({"key": {"boot": boot}, "accelerator": accelerator, "why": "tried"}), "utf-8")
        assert enclose.proved(verdict) is believed
    verdict.write_text("[]", "utf-8")
    assert not enclose.proved(verdict)


def test_a_long_log_is_rotated_and_a_link_is_not(tmp_path):
    log = tmp_path / "clc.log"
    for text in ("first", "second", "third", "fourth"):
        log.write_text(text, "utf-8")
        keeper.rotate(log, limit_bytes=3)
    assert (tmp_path / "clc.log.1").read_text("utf-8") == "fourth"
    assert (tmp_path / "clc.log.2").read_text("utf-8") == "third"
    assert log.stat().st_size == 0
    assert not (tmp_path / "clc.log.3").exists()
    link = tmp_path / "link.log"
    link.symlink_to(tmp_path / "clc.log.1")
    keeper.rotate(link, limit_bytes=3)
    assert (tmp_path / "clc.log.1").read_text("utf-8") == "fourth"


def test_client_entry_is_put_in_and_taken_out(tmp_path):
    who = account.Caller(tmp_path, os.getuid(), os.getgid())
    one, two = make("/tmp/a"), make("/tmp/b", EDUCLOUD_PORT_BASE="9100")
    source = tmp_path / "made.toml"
    source.write_text('current = "x"\n[contexts."x"]\nurl = "http://127.0.0.1:1"\ntoken = "t"\n', "utf-8")
    account.put_entry(one, who, source)
    account.put_entry(two, who, source)
    assert account.has_entry(one, who)
    assert stat.S_IMODE(who.config.stat().st_mode) == 0o600
    account.drop_entry(one, who)
    assert not account.has_entry(one, who)
    assert account.has_entry(two, who)
    account.drop_entry(two, who)
    assert not who.config.parent.exists()


def test_roles_are_found_in_the_status_document():
    document = {"health": "ok", "hosts": [{"role": "nc", "state": "down"}, {"role": "nc", "state": "up"}, {"role": "clc", "state": "up"}]}
    assert up.roles_seen(document) == {"nc": "up", "clc": "up"}
    assert up.roles_seen({"code": "unauthenticated"}) == {}


def test_up_waits_for_the_broker():
    assert up.broker_heard({"parts": [{"name": "broker", "health": "ok"}, {"name": "sc", "health": "bad"}]})
    assert not up.broker_heard({"parts": [{"name": "broker", "health": "bad"}]})


def test_a_missing_localhost_is_said(monkeypatch):
    def refuse(*_args):
        raise OSError("no such name")

    monkeypatch.setattr(checks.socket, "getaddrinfo", refuse)
    with pytest.raises(Refused, match="localhost"):
        checks._localhost()


@pytest.mark.parametrize("program", plan.ROLE_PROGRAMS)
def test_every_role_program_has_a_unit_with_its_account(program):
    lines = (ROOT / f"deploy/systemd/educloud-{program}.service").read_text("utf-8").splitlines()
    assert f"ExecStart=/opt/educloud/.venv/bin/python -m deploy.processes {program}" in lines
    assert ("User=educloud" in lines) is (make("/tmp/a").user(program) == "educloud")
    assert "NoNewPrivileges=yes" in lines


def test_why_a_program_does_not_run_is_found_wherever_it_was_said(tmp_path: Path) -> None:
    made = plan.Plan(tmp_path, plan.Ports(8600), "10.231.0.0/24", tmp_path, tmp_path)
    assert "nor the supervisor" in last_words(made, "libvirtd")
    made.supervisor.mkdir()
    (made.supervisor / "supervisor.log").write_text(
        "INFO spawned: 'libvirtd' with pid 7\nINFO spawned: 'board' with pid 8\nINFO gave up: libvirtd entered FATAL state\n",
    )
    made.unstarted("libvirtd").write_text("PermissionError: mount /x on /run: Operation not permitted\n")
    said = last_words(made, "libvirtd")
    assert "Operation not permitted" in said
    assert "spawned: 'libvirtd'" in said
    assert "FATAL" in said
    assert "board" not in said
    made.log("libvirtd").parent.mkdir(parents=True)
    made.log("libvirtd").write_text("error: unsupported setting\n")
    assert "unsupported setting" in last_words(made, "libvirtd")


def test_a_port_is_a_strangers_while_its_program_lives(cloud, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as one:
        (own,) = [row for row in psutil.net_connections("tcp") if row.pid == os.getpid() and row.laddr.port == one.getsockname()[1]]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    listens = own._replace(laddr=own.laddr._replace(port=cloud.ports["cc_door"]))
    for pid, named in ((os.getpid(), True), (None, True), (ended.pid, False)):
        monkeypatch.setattr(psutil, "net_connections", lambda _kind, pid=pid: [listens._replace(pid=pid)])
        assert bool(checks.strangers(cloud)) == named, pid
