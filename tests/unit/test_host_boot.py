"""After a power outage: the unit of systemd, what is remembered of the choices, images that were deleted."""

import dataclasses
import os
import stat

import pytest

from deploy.host import addresses, boot, down, firsts, ground
from deploy.host.plan import Choices
from deploy.host.profiles import FULL, MARK
from luhyaapi.errors import Refused
from luhyaapi.process import Finished
from tests.support.granted import a_plan
from tests.unit.test_host_plan import make, me


@pytest.fixture
def plan(tmp_path_factory):
    return dataclasses.replace(a_plan(tmp_path_factory.mktemp("h", numbered=True)), profile=FULL)


@pytest.fixture
def init(tmp_path):
    """A machine whose systemctl writes down what it is told."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/told\n')
    program.chmod(0o755)
    (tmp_path / "running").mkdir()
    (tmp_path / "units").mkdir()
    return boot.Init(tmp_path / "running", tmp_path / "units", str(program))


def told(init) -> list[str]:
    file = init.units.with_name("told")
    return file.read_text().splitlines() if file.exists() else []


def test_what_is_up_comes_back_at_a_boot_until_it_is_reset(plan, init):
    assert boot.install(plan, {"SUDO_USER": "teacher"}, init)
    file = init.units / "educloud-host.service"
    lines = file.read_text().splitlines()
    assert f"WorkingDirectory={plan.program}" in lines
    assert f'ExecStart="{plan.python}" -m deploy.host up' in lines
    assert {f'Environment="EDUCLOUD_HOME={plan.home}"', 'Environment="EDUCLOUD_PORT_BASE=8600"', 'Environment="SUDO_USER=teacher"'} <= set(lines)
    assert {"Restart=on-failure", "RestartSec=30", f"ConditionPathExists={plan.choices_file}"} <= set(lines)
    assert "/opt/educloud" not in file.read_text()
    assert told(init) == ["daemon-reload", "enable --quiet educloud-host.service"]
    assert not boot.install(plan, {"SUDO_USER": "teacher"}, init), "it is there"
    assert boot.remove(plan, init)
    assert not file.exists()
    assert told(init)[2:] == ["disable --quiet educloud-host.service", "daemon-reload"]
    assert not boot.remove(plan, init)


def test_a_second_cloud_has_a_unit_of_its_own(plan, init):
    boot.install(plan, {}, init)
    boot.install(dataclasses.replace(plan, ports=type(plan.ports)(9100)), {}, init)
    assert {file.name for file in init.units.iterdir()} == {"educloud-host.service", "educloud-host-9100.service"}


def test_without_systemd_or_root_nothing_is_installed(plan, init):
    assert not boot.install(a_plan(plan.home), {}, init), "an ordinary user's cloud"
    init.running.rmdir()
    assert not boot.install(plan, {}, init)
    assert not list(init.units.iterdir())


def test_a_systemctl_that_fails_is_said_and_stops_nothing(plan, init, capsys):
    assert not boot.install(plan, {}, dataclasses.replace(init, systemctl="/nonexistent/systemctl"))
    assert "does not come back" in capsys.readouterr().err


def test_a_reset_removes_the_unit(plan, init, monkeypatch, tmp_path):
    boot.install(plan, {}, init)
    monkeypatch.setattr(boot.remove, "__defaults__", (init,))
    made = dataclasses.replace(a_plan(plan.home), profile=dataclasses.replace(FULL, services=(), programs=()))
    (plan.home / MARK).touch()
    made = dataclasses.replace(made, choices=Choices(bosses={"sc": "https://10.0.0.1:8603"}))
    monkeypatch.setattr(down, "_clear_network", lambda _plan: None)
    down.reset(made, {"HOME": str(tmp_path)})
    assert not list(init.units.iterdir())
    assert not plan.home.exists()


# ---- what is remembered


def test_ports_stay_and_others_are_refused(tmp_path_factory):
    home = tmp_path_factory.mktemp("h", numbered=True)
    ground.prepare(make(home, EDUCLOUD_PORT_BASE="9100"), me)
    assert make(home).ports.base == 9100
    assert make(home, EDUCLOUD_PORT_BASE="9100").broker_node == "educloud-9100@localhost"
    with pytest.raises(Refused, match="EDUCLOUD_PORT_BASE=8600") as e:
        make(home, EDUCLOUD_PORT_BASE="8600")
    assert "9100" in e.value.why
    file = home / "educloud.toml"
    file.write_text("port_base = 9600")
    with pytest.raises(Refused, match="EDUCLOUD_PORT_BASE=9600"):
        make(home, file)


def test_the_first_images_are_remembered():
    chosen = addresses.with_demo("none", Choices())
    assert chosen.demo == "none"
    assert addresses.with_demo("", chosen) == chosen
    with pytest.raises(Refused, match="EDUCLOUD_DEMO=few"):
        addresses.with_demo("few", chosen)


def test_a_deleted_image_stays_deleted(plan, tmp_path):
    """Over three `make up`s: it is brought in, it is there, somebody deleted it."""
    there: set[str] = set()
    calls: list[tuple[str, ...]] = []

    def client(*words, timeout_s, check=True):
        calls.append(words)
        if words[:2] == ("image", "build-demo"):
            there.add("tiny")
        return Finished(0 if "tiny" in there else 1, b"", b"")

    plan.supervisor.mkdir()
    for deleted in (False, False, True):
        if deleted:
            there.clear()
        firsts.provide(plan, "tiny", client, tmp_path)
    assert [words for words in calls if words[1] == "build-demo"] == [("image", "build-demo", "--only", "tiny")]
    assert not there


def test_the_unit_file_is_only_roots_to_write(plan, init):
    boot.install(plan, {}, init)
    assert stat.S_IMODE((init.units / "educloud-host.service").stat().st_mode) & 0o022 == 0
    assert (init.units / "educloud-host.service").stat().st_uid == os.getuid()
