"""Profiles: which one a cloud is of, and what the plan and the files of each are."""

import os
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.host import __main__ as command
from deploy.host import checks, configs, ground, plan, profiles, tools, unpack
from deploy.host.profiles import DEMO, FULL, ROOTLESS
from luhyaapi import conf, process
from luhyaapi.errors import Failed, Refused

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/bin/python"
NO_FILE = Path("/nonexistent/educloud.toml")
ROOTS, ADAS = 0, 1000


def make(profile, home="/tmp/a", **environ):
    return plan.make({"EDUCLOUD_HOME": str(home), **environ}, ROOT, PYTHON, NO_FILE, profile=profile)


@pytest.fixture
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("h", numbered=True)


@pytest.fixture
def rootless(home):
    made = make(ROOTLESS)
    return plan.Plan(home, made.ports, made.subnet, ROOT, PYTHON, profile=ROOTLESS)


@pytest.fixture
def demo(home):
    made = make(DEMO)
    return plan.Plan(home, made.ports, made.subnet, ROOT, PYTHON, profile=DEMO)


def loaded(made, role, tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith("EDUCLOUD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(conf.CONFIG_VARIABLE, "")
    file = tmp_path / f"{role}.toml"
    file.write_text(configs.role(made, role), "utf-8")
    return conf.load(file)


# ---- which one


def test_without_a_choice_root_gets_full_and_everybody_else_rootless(home):
    assert profiles.chosen("", home, ROOTS) is FULL
    assert profiles.chosen("", home, ADAS) is ROOTLESS
    assert profiles.chosen("demo", home, ROOTS) is DEMO


def test_what_a_cloud_was_made_with_stays_until_it_is_taken_away(demo):
    ground.prepare(demo)
    assert profiles.kept(demo.home) is DEMO
    assert profiles.chosen("", demo.home, ROOTS) is DEMO
    with pytest.raises(Refused, match="holds a cloud of PROFILE=demo") as refusal:
        profiles.chosen("full", demo.home, ROOTS)
    assert refusal.value.code == "state"


def test_a_cloud_from_before_there_were_profiles_is_full(home):
    (home / profiles.MARK).touch()
    assert profiles.kept(home) is FULL


def test_a_mark_nobody_can_read_is_said(home):
    (home / profiles.MARK).mkdir()
    with pytest.raises(Refused, match="cannot be read"):
        profiles.kept(home)


@pytest.mark.parametrize(("wanted", "euid", "code"), [("full", ADAS, "forbidden"), ("rootless", ROOTS, "invalid"), ("other", ADAS, "invalid")])
def test_a_profile_that_is_not_for_this_user_is_refused(home, wanted, euid, code):
    with pytest.raises(Refused) as refusal:
        profiles.chosen(wanted, home, euid)
    assert refusal.value.code == code


def test_places_are_the_machines_for_root_and_the_users_for_others():
    assert profiles.places({}, ROOTS) == (Path("/var/lib/educloud"), Path("/etc/educloud/educloud.toml"))
    assert profiles.places({"HOME": "/home/ada"}, ADAS) == (
        Path("/home/ada/.local/share/educloud"), Path("/home/ada/.config/educloud/educloud.toml"),
    )
    xdg = {"HOME": "/home/ada", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"}
    assert profiles.places(xdg, ADAS) == (Path("/d/educloud"), Path("/c/educloud/educloud.toml"))


@pytest.mark.parametrize("name", ["LISTEN", "EDUCLOUD_ROLES", "EDUCLOUD_UPLINK"])
def test_what_takes_several_hosts_is_not_for_one(demo, monkeypatch, name):
    monkeypatch.setenv(name, "x")
    with pytest.raises(Refused, match=name):
        command._alone(demo)
    command._alone(make(FULL))


def test_no_host_joins_into_a_demo(demo):
    with pytest.raises(Refused, match="on one host"):
        command._joins(demo)


# ---- plans and files


def test_demo_is_one_program_without_services(demo):
    assert (demo.programs, demo.services, demo.roles) == (("cloud",), (), plan.ROLES)
    assert {demo.programs_of(role) for role in plan.ROLES} == {("cloud",)}
    assert demo.log("cloud") == demo.home / "clc/log/cloud.log"


@pytest.mark.parametrize("role", plan.ROLES)
def test_demo_configuration_loads_and_needs_nobody(demo, tmp_path, monkeypatch, role):
    settings = loaded(demo, role, tmp_path, monkeypatch)
    assert settings.host.state == demo.home / role
    assert settings.console.simulation == (role == "clc")
    assert role != "clc" or settings.board.port == 0
    assert role != "nc" or settings.hypervisor.driver == "fake"
    assert role not in ("cc", "nc") or (settings.network.driver, settings.network.node_driver) == ("fake", "fake")
    assert "broker" not in tomllib.loads(configs.role(demo, role))


@pytest.mark.parametrize("role", plan.ROLES)
def test_rootless_configuration_loads(rootless, tmp_path, monkeypatch, role):
    settings = loaded(rootless, role, tmp_path, monkeypatch)
    assert settings.console.simulation is False
    if role == "nc":
        assert settings.hypervisor.uri.startswith("qemu:///session?socket=")
    if role in ("cc", "nc"):
        assert (settings.network.driver, settings.network.node_driver, settings.network.forwarded) == ("user", "user", (80, 22))


def test_screens_and_forwarded_ports_share_the_span_and_never_meet():
    ports = make(ROOTLESS).ports
    displays, first = ports.shared(2)
    forwards = range(first, first + 2 * len(displays))
    assert len(displays) >= 100
    assert not set(displays) & set(forwards)
    assert {*displays, *forwards} <= set(ports.displays)
    assert ports.shared(0)[0] == ports.displays


@pytest.mark.parametrize("made", ["demo", "rootless"])
def test_files_are_the_callers_and_made_once(request, made):
    cloud = request.getfixturevalue(made)
    assert set(cloud.programs) | {"supervisor"} <= ground.prepare(cloud)
    assert ground.prepare(cloud) == set()
    for file in (p for p in cloud.home.rglob("*") if p.is_file() and p.suffix in (".toml", ".json", ".conf")):
        assert (file.owner(), stat.S_IMODE(file.stat().st_mode)) == (Path(cloud.home).owner(), 0o600), file
    assert "user = " not in (cloud.supervisor / "supervisord.conf").read_text("utf-8")
    for program in cloud.programs:
        spec = configs.enclosure(cloud, program)
        assert (spec["user"], spec["binds"], spec["hide_kvm_unless"]) == ("", [], None)


def test_a_users_own_libvirt_keeps_everything_below_the_cloud(rootless):
    ground.prepare(rootless)
    environ = configs.enclosure(rootless, "libvirtd")["environ"]
    places = [environ[name] for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "HOME")]
    assert all(place.startswith(str(rootless.home)) for place in places)
    assert (rootless.session_config / "libvirt/qemu.conf").is_file()


def test_sockets_of_a_users_own_libvirt_fit_into_the_longest_folder():
    longest = "/h" + "x" * (ROOTLESS.longest_home - 4) + "/c"
    made = make(ROOTLESS, longest)
    for socket in (made.session_config / "libvirt/qemu/lib/domain-9999-ins-00000000/monitor.sock", made.home / "nc/instances/ins-00000000/vnc/sock"):
        assert len(str(socket)) < 108
    with pytest.raises(Refused, match="too long"):
        make(ROOTLESS, longest + "x")
    assert make(FULL, longest + "x")


def test_what_a_profile_does_without_is_not_missed(demo, rootless):
    assert checks.absent(demo) == []
    assert not {"/usr/sbin/dnsmasq", "/usr/sbin/ip"} & set(checks.absent(rootless))


# ---- unpacking


def unpacked(cloud, path, text="#!/bin/sh\n"):
    file = cloud.unpacked / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def test_an_unpacked_program_goes_before_an_installed_one(rootless):
    assert tools.at(rootless, "/usr/bin/env") == "/usr/bin/env"
    assert "LD_LIBRARY_PATH" not in tools.environ(rootless)
    file = unpacked(rootless, "/usr/bin/env")
    assert tools.at(rootless, "/usr/bin/env") == str(file)
    found = tools.environ(rootless)
    assert found["PATH"].startswith(str(rootless.unpacked))
    assert str(rootless.unpacked) in found["LD_LIBRARY_PATH"]
    full = plan.Plan(rootless.home, rootless.ports, rootless.subnet, ROOT, PYTHON)
    assert tools.at(full, "/usr/bin/env") == "/usr/bin/env"


def test_rabbitmq_is_told_where_it_is(rootless):
    assert tools.broker(rootless) == {}
    unpacked(rootless, "/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8/plugins/x")
    assert tools.broker(rootless)["RABBITMQ_PLUGINS_DIR"].endswith("rabbitmq_server-3.10.8/plugins")


def test_erlang_and_libvirt_find_themselves_elsewhere(tmp_path):
    part = tmp_path / "part"
    scripts = [part / "usr/lib/erlang/bin/erl", part / "usr/lib/erlang/erts-13/bin/erl"]
    for script in scripts:
        script.parent.mkdir(parents=True)
        script.write_text("#!/bin/sh\nROOTDIR=/usr/lib/erlang\n", "utf-8")
    (scripts[0].parent / "erlc").write_bytes(b"\x7fELF ROOTDIR=/usr/lib/erlang")
    (scripts[0].parent / "link").symlink_to("erl")
    library = part / "usr/lib/x86_64-linux-gnu/libvirt.so.0.1"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\x7fELF\0/usr/share/libvirt/cpu_map\0more")
    size = library.stat().st_size
    unpack._resettle_erlang(part, Path("/r"))
    unpack._resettle_libvirt(part)
    assert all(script.read_text("utf-8").endswith("ROOTDIR=/r/usr/lib/erlang\n") for script in scripts)
    assert (scripts[0].parent / "erlc").read_bytes() == b"\x7fELF ROOTDIR=/usr/lib/erlang"
    assert (library.stat().st_size, library.read_bytes()) == (size, b"\x7fELF\0/proc/self/cwd/pkg/cpu_map\0more")


def test_nothing_is_fetched_where_nothing_is_missing(rootless, monkeypatch):
    monkeypatch.setattr(unpack.checks, "absent", lambda _plan: [])
    monkeypatch.setattr(unpack.process, "run", lambda *_, **__: pytest.fail("apt was called"))
    rootless.packages.mkdir()
    (rootless.packages / "unpacked").write_text("missing\n", "utf-8")
    assert unpack.provide(rootless, {}) is False


def test_a_shared_folder_must_be_named_whole(rootless):
    with pytest.raises(Refused, match="absolute"):
        unpack.provide(rootless, {"EDUCLOUD_PACKAGES": "here"})


def test_a_shared_folder_is_used_by_name_and_survives_the_cloud(rootless, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "_wanted", lambda _plan, **_: [])
    monkeypatch.setattr(unpack.checks, "absent", lambda _plan: [])
    assert unpack.provide(rootless, {"EDUCLOUD_PACKAGES": str(tmp_path / "shared")}) is True
    assert rootless.packages.resolve() == tmp_path / "shared"
    assert (tmp_path / "shared/unpacked").is_file()


def test_elsewhere_than_on_debian_what_is_missing_is_named(rootless, monkeypatch):
    monkeypatch.setattr(unpack.shutil, "which", lambda _name: None)
    monkeypatch.setattr(unpack.checks, "absent", lambda _plan: ["/usr/bin/memcached"])
    with pytest.raises(Failed, match="not Debian") as failure:
        unpack.provide(rootless, {})
    assert "/usr/bin/memcached" in failure.value.why
    monkeypatch.setattr(unpack.checks, "absent", lambda _plan: [])
    assert unpack.provide(rootless, {}) is False


def apt(answers):
    """A program run as ``answers`` says, by its verb."""

    def run(argv, **_kw):
        verb = next(word for word in map(str, argv) if word in answers)
        code, out = answers[verb]
        return process.Finished(code, out.encode(), b"E: no")

    return run


def test_a_machine_without_package_lists_gets_its_own_or_says_so(rootless, monkeypatch):
    rootless.packages.mkdir()
    monkeypatch.setattr(unpack.process, "run", apt({"install": (100, ""), "update": (0, "")}))
    with pytest.raises(Failed, match="does not know"):
        unpack._wanted(rootless, everything=False)
    assert unpack.apt_environ(rootless)["APT_CONFIG"].endswith("apt.conf")
    monkeypatch.setattr(unpack.process, "run", apt({"install": (100, ""), "update": (100, "")}))
    with pytest.raises(Failed, match="update failed"):
        unpack._wanted(rootless, everything=False)
    assert unpack.apt_environ(rootless) == {}


def test_of_everything_what_every_debian_has_is_left_out(rootless, monkeypatch):
    rootless.packages.mkdir()

    def run(argv, **_kw):
        ours = "memcached" in map(str, argv)
        return process.Finished(0, (b"Inst memcached (1)\nInst cron (1)\nInst libc6 (2)\n" if ours else b"Inst libc6 (2)\n"), b"")

    monkeypatch.setattr(unpack.process, "run", run)
    assert unpack._wanted(rootless, everything=True) == ["memcached"]
    assert unpack._wanted(rootless, everything=False) == ["libc6", "memcached"]


def test_a_package_that_cannot_be_fetched_leaves_no_half_folder(rootless, monkeypatch):
    rootless.packages.mkdir()
    monkeypatch.setattr(unpack.process, "run", apt({"download": (100, "")}))
    with pytest.raises(Failed, match="could not fetch"):
        unpack._unpack(rootless, ["memcached"])
    assert not rootless.unpacked.exists()


def test_the_binding_is_debians_for_this_very_python(rootless, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    tag = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
    unpacked(rootless, "/usr/lib/python3/dist-packages/libvirt.py")
    unpacked(rootless, f"/usr/lib/python3/dist-packages/libvirtmod.{tag}-x86_64-linux-gnu.so")
    unpacked(rootless, "/usr/lib/python3/dist-packages/yaml.py")
    for _ in range(2):
        unpack.bind_python(rootless)
    assert sorted(p.name for p in rootless.binding.iterdir()) == ["libvirt.py", f"libvirtmod.{tag}-x86_64-linux-gnu.so"]
    spec = configs.enclosure(rootless, "nc")
    assert str(rootless.binding) in spec["environ"]["PYTHONPATH"]


def test_no_binding_for_this_python_is_said(rootless, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    with pytest.raises(Failed, match="binding is not there"):
        unpack.bind_python(rootless)
