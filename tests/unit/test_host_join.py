"""A host that is part of a cloud elsewhere: what is chosen for it, and what follows from that."""

import dataclasses
import json
import os
import tomllib

import pytest

from deploy.cli import contexts
from deploy.host import account, addresses, configs, ground, join, plan
from deploy.host.plan import Choices
from luhyaapi.errors import Refused
from tests.unit.test_host_plan import make, me

OPEN = Choices(listen="10.0.0.1", address="10.0.0.1")


def joined(*roles: str, **more) -> Choices:
    return Choices(bosses=dict.fromkeys(roles, "https://10.0.0.1:8603"), **more)


def a_plan(choices: Choices, home="/tmp/a"):
    return dataclasses.replace(make(home), choices=choices)


def test_choices_are_kept_and_read_again(tmp_path):
    chosen = joined("nc", address="10.0.0.2", uplink="eth1")
    file = tmp_path / "choices.json"
    file.write_text(chosen.text(), "utf-8")
    assert Choices.kept(file) == chosen
    assert Choices.kept(tmp_path / "none") == Choices()
    for broken in ("nonsense", '{"more": 1}'):
        file.write_text(broken, "utf-8")
        with pytest.raises(Refused, match="cannot be read"):
            Choices.kept(file)


@pytest.fixture
def home(tmp_path_factory):
    # pytest's own folders have names too long for a socket below them
    return tmp_path_factory.mktemp("h", numbered=True)


@pytest.mark.parametrize(("roles", "programs"), [
    (("nc",), ("libvirtd", "nc")), (("cc",), ("broker", "cc")), (("walrus",), ("walrus",)), (("sc",), ("sc",)),
    (("nc", "sc"), ("libvirtd", "nc", "sc")), ((), plan.PROGRAMS),
])
def test_a_host_runs_what_its_roles_need(roles, programs):
    assert a_plan(joined(*roles)).programs == programs


def test_a_node_of_its_own_listens_to_nobody():
    made = a_plan(joined("nc", address="10.0.0.2"))
    found = tomllib.loads(configs.role(made, "nc"))
    assert found["host"]["listen"] == "127.0.0.1"
    assert found["host"]["address"] == "10.0.0.2"
    assert not found["host"]["tls"]
    assert found["boss"]["door"] == "https://10.0.0.1:8603"


def test_an_open_cloud_speaks_tls_at_every_door_others_reach():
    made = a_plan(OPEN)
    assert made.console == "https://10.0.0.1:8600/"
    for role in plan.ROLES:
        found = tomllib.loads(configs.role(made, role))
        reached = role in ("clc", "walrus", "cc", "nc")
        assert found["host"]["tls"] is reached
        assert found["host"]["listen"] == ("10.0.0.1" if reached else "127.0.0.1")
        if role != "clc":
            assert found["boss"]["door"].startswith("https://10.0.0.1:")
        if role in ("clc", "cc"):
            assert found["broker"]["host"] == "127.0.0.1"
            assert found["broker"]["address"] == "10.0.0.1:8615"
    assert tomllib.loads(configs.role(made, "cc"))["broker"]["name"] == "clc.educloud"
    assert "name" not in tomllib.loads(configs.role(made, "clc"))["broker"]


def test_a_broker_speaks_tls_only_with_a_certificate():
    made = a_plan(OPEN)
    plain, secured = configs.broker(made, secured=False), configs.broker(made, secured=True)
    assert "ssl" not in plain
    assert "listeners.ssl.1 = 10.0.0.1:8615" in secured
    assert "listeners.tcp.1 = 127.0.0.1:8610" in secured
    assert "[fd00::1]:8615" in configs.broker(a_plan(Choices("fd00::1", "fd00::1")), secured=True)


def test_the_broker_gets_its_copy_once_its_boss_was_certified(home):
    made = a_plan(dataclasses.replace(joined("cc"), listen="10.0.0.2", address="10.0.0.2"), home)
    ground.prepare(made, me)
    conf = home / "broker" / "rabbitmq.conf"
    assert "ssl" not in conf.read_text()
    identity = home / "cc" / "identity"
    identity.mkdir()
    for name in ("tls.pem", "tls-key.pem", "authority.pem"):
        (identity / name).write_text(name)
    assert "broker" in ground.prepare(made, me)
    assert "listeners.ssl.1 = 10.0.0.2:8615" in conf.read_text()
    assert (home / "broker" / "tls-key.pem").read_text() == "tls-key.pem"
    assert (home / "broker" / "tls-key.pem").stat().st_mode & 0o777 == 0o600
    assert ground.prepare(made, me) == set()
    assert json.loads(made.choices_file.read_text())["bosses"] == {"cc": "https://10.0.0.1:8603"}
    assert {p.name for p in home.iterdir()} >= {"broker", "cc", "supervisor"}
    assert not (home / "hypervisor").exists()
    assert not (home / "clc").exists()


def test_what_joined_before_runs_while_another_role_joins(home):
    """A node whose cluster's controller is on the same host would wait for it for ever."""
    made = a_plan(joined("cc", "nc", "sc"), home)
    assert join.running(made, "nc") == ["nc"]
    made.certificate("cc").parent.mkdir(parents=True)
    made.certificate("cc").touch()
    assert join.running(made, "nc") == ["cc", "nc"]
    assert join.running(made, "cc") == ["cc"]


# ---- LISTEN, BOSS, ROLE


def test_listen_as_it_was_and_back_to_loopback():
    assert addresses.listening("", OPEN) == OPEN
    assert addresses.listening("localhost", OPEN) == Choices()
    assert addresses.listening("127.0.0.1", OPEN) == Choices()


@pytest.mark.parametrize("wanted", ["example.org", "10.0.0.999", "192.0.2.77", "127.0.0.2", "::1"])
def test_listen_on_what_is_not_ours_is_refused(wanted):
    with pytest.raises(Refused) as e:
        addresses.listening(wanted, Choices())
    assert f"LISTEN={wanted}" in e.value.what
    assert "0.0.0.0" in e.value.hint


def test_an_address_without_a_way_there_is_told():
    with pytest.raises(Refused, match="not clear"):
        addresses.outward("no host with such a name")


@pytest.mark.parametrize(("role", "given", "door"), [
    ("nc", "10.0.0.1", "https://10.0.0.1:8603"), ("cc", "10.0.0.1", "https://10.0.0.1:8607"),
    ("nc", "10.0.0.1:9", "https://10.0.0.1:9"), ("sc", "https://cc.school.example:8603/", "https://cc.school.example:8603"),
    ("walrus", "127.0.0.1", "http://127.0.0.1:8607"), ("nc", "[fd00::1]", "https://[fd00::1]:8603"),
])
def test_a_boss_is_named_in_many_ways(role, given, door):
    assert addresses.boss_door(role, given, plan.Ports(8600)) == door


@pytest.mark.parametrize("given", ["ftp://10.0.0.1", "https://10.0.0.1/x", "10.0.0.1:many", ":8603", "https://"])
def test_a_boss_that_is_no_address_is_refused(given):
    with pytest.raises(Refused, match="is not an address"):
        addresses.boss_door("nc", given, plan.Ports(8600))


@pytest.mark.parametrize(("environ", "said"), [
    ({}, "ROLE="), ({"ROLE": "clc", "BOSS": "10.0.0.1"}, "cannot join"), ({"ROLE": "nc"}, "BOSS is missing"),
])
def test_a_join_that_says_too_little_is_refused(home, environ, said):
    with pytest.raises(Refused) as e:
        join.chosen(a_plan(Choices(), home), environ)
    assert said in e.value.what
    assert not list(home.iterdir())


def test_a_host_with_a_whole_cloud_joins_no_other(cloud_home):
    with pytest.raises(Refused, match="whole cloud"):
        join.chosen(a_plan(Choices(), cloud_home), {"ROLE": "nc", "BOSS": "10.0.0.1"})


@pytest.fixture
def cloud_home(home):
    (home / "clc").mkdir()
    (home / "clc" / "clc.toml").touch()
    return home


def test_a_second_role_joins_the_first(home):
    first = join.chosen(a_plan(Choices(), home), {"ROLE": "nc", "BOSS": "http://127.0.0.1:8603"})
    assert (first.listen, list(first.bosses)) == ("127.0.0.1", ["nc"])
    both = join.chosen(a_plan(first, home), {"ROLE": "sc", "BOSS": "http://127.0.0.1:8603"})
    assert set(both.bosses) == {"nc", "sc"}
    assert join.chosen(a_plan(both, home), {"ROLE": "nc"}) == both, "again, without saying its boss"


def test_the_token_may_come_from_a_file(tmp_path):
    assert join._token({"TOKEN": " t "}) == "t"
    (tmp_path / "t").write_text("from a file\n")
    assert join._token({"TOKEN": "t", "TOKEN_FILE": str(tmp_path / "t")}) == "from a file"
    with pytest.raises(Refused, match="TOKEN_FILE"):
        join._token({"TOKEN_FILE": str(tmp_path / "none")})


def test_why_joining_waits_is_read_from_the_log(tmp_path):
    log = tmp_path / "log"
    assert join._last_reason(log) == "asks its boss"
    log.write_text('not json\n[1]\n{"event": "joining", "why": "waits for an administrator"}\n{"event": "other"}\n')
    assert join._last_reason(log) == "waits for an administrator"


def test_a_client_elsewhere_gets_its_own_copy_of_whom_to_trust(tmp_path, home):




    made = a_plan(OPEN, home)
    made.certified.mkdir(parents=True)
    (made.certified / "authority.pem").write_text("AUTHORITY")
    who = account.Caller(tmp_path / "user", os.getuid(), os.getgid())
    source = tmp_path / "source.toml"
    contexts.save(contexts.Context("local", "https://10.0.0.1:8600", "t"), source)
    account.put_entry(made, who, source)
    (entry,) = contexts.load(who.config)[1].values()
    assert (tmp_path / "user/.config/educloud/default-authority.pem").read_text() == "AUTHORITY"
    assert entry.ca_file == str(tmp_path / "user/.config/educloud/default-authority.pem")
    account.drop_entry(made, who)
    assert not (tmp_path / "user/.config/educloud").exists()
