"""An address that changes, with real doors: a role speaks TLS later than it joined, a node follows its boss alone."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from clc.services import own
from deploy.host import down, ground, memberships, up
from deploy.host.plan import LOOPBACK, Choices, Ports
from deploy.host.profiles import FULL
from luhyaapi import conf
from luhyaapi.conf import Settings
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire import identity, joining, tls
from luhyaapi.wire.http import Door, json_answer, route
from tests.support.granted import IDS, a_plan, elsewhere, held, member
from tests.unit.test_host_plan import me

pytestmark = pytest.mark.live
OPEN = Choices(listen="10.0.0.1", address="10.0.0.1", roles=("clc", "walrus"))


@pytest.fixture
def plan(tmp_path_factory):
    # pytest's own folders have names too long for a socket below them
    return a_plan(tmp_path_factory.mktemp("h", numbered=True))


def test_a_door_opens_with_the_certificate_it_was_given_later(plan):
    """The steps of the installation as `make up` runs them, in processes of their own."""
    plan = dataclasses.replace(plan, choices=Choices(LOOPBACK, LOOPBACK, roles=("clc", "walrus")))
    ground.prepare(plan)
    authority = own.make(plan.home / "clc")
    member(plan, authority, "walrus")
    opened = dataclasses.replace(plan, choices=OPEN)
    ground.prepare(opened)
    settings = conf.Host(role="walrus", state=plan.home / "walrus", tls=True)
    with pytest.raises(Refused, match="no certificate for its doors"):
        joining.membership(Settings(host=settings))
    memberships.renew(opened, up.as_role)
    assert joining.membership(Settings(host=settings)).secured
    door = Door("walrus", "127.0.0.1", 0, [], lambda: (), tls.doors(settings)).start()
    try:
        trusted = tls.trust(plan.certificate("walrus").parent, "walrus.educloud")
        with tls.http(trusted) as client:
            assert client.get(f"https://127.0.0.1:{door.port}/healthz", extensions=tls.asking(trusted)).status_code == 200
    finally:
        door.stop()


@pytest.fixture
def full():
    """Roles with accounts of their own, and a supervisor; no program runs."""
    home = Path(tempfile.mkdtemp(prefix="edu"))
    home.chmod(0o755)  # the accounts pass through it
    made = dataclasses.replace(a_plan(home), profile=FULL, ports=Ports(27600), choices=Choices(roles=("clc", "walrus")))
    try:
        yield made
    finally:
        down.down(made)
        shutil.rmtree(home)


def test_what_make_up_begins_with_moves_the_roles_of_the_host(full):
    up.begin(full)
    up.as_role(full, "clc", "certify")
    member(full, own.load(full.home / "clc"), "walrus")
    folder, account = full.certificate("walrus").parent, ground.owner("educloud")
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.uid, account.gid)
    up.begin(dataclasses.replace(full, choices=OPEN))
    assert held(full, "walrus").broker.endswith("@10.0.0.1:27615/clc")
    assert identity.names_in((folder / "tls.pem").read_text()) == {IDS["walrus"], "walrus.educloud"}
    assert {path.stat().st_uid for path in folder.iterdir()} == {account.uid}
    assert "ssl" in (full.home / "broker/rabbitmq.conf").read_text()
    up.begin(full)
    assert not held(full, "walrus").secured
    assert "ssl" not in (full.home / "broker/rabbitmq.conf").read_text()


@pytest.fixture
def boss(tmp_path):
    """The door of a CC with TLS, and its authority."""
    authority = own.make(tmp_path / "clc")
    folder = tmp_path / "boss"
    csr = identity.request(identity.tls_key(folder / "tls-key.pem"), "x")
    (folder / "tls.pem").write_text(identity.certify_tls(authority.authority_key, authority.authority, csr, IDS["cc"]))
    shown = route("GET", "/cc/api/1.0/authority/?", lambda _request: json_answer({"authority": authority.authority}))
    door = Door("cc", "127.0.0.1", 0, [shown], lambda: (), tls.serving(folder)).start()
    yield door.port, authority
    door.stop()


def test_a_node_follows_its_boss_to_a_new_address_only_when_it_proves_itself(plan, boss):
    port, authority = boss
    before = elsewhere(plan, "https://10.0.0.1:8603")
    member(before, authority, "nc", broker_name="clc.educloud", tls="pem")
    was = held(before, "nc")
    after = elsewhere(plan, f"https://127.0.0.1:{port}")
    assert memberships.follow(before, before.choices, me) == set()
    assert memberships.follow(after, before.choices, me) == {"nc"}
    now = held(after, "nc")
    assert (now.broker, now.streams) == (was.broker, f"127.0.0.1:{plan.ports['cc_stream']}")
    assert (now.host, now.certificate, now.broker_name) == (was.host, was.certificate, was.broker_name)


def test_what_a_node_held_stays_when_another_answers(plan, boss, tmp_path):
    port, _ = boss
    before = elsewhere(plan, "https://10.0.0.1:8603")
    member(before, own.make(tmp_path / "another"), "nc", broker_name="clc.educloud", tls="pem")
    was = held(before, "nc")
    with pytest.raises(Unavailable, match="does not answer") as e:
        memberships.follow(elsewhere(plan, f"https://127.0.0.1:{port}"), before.choices, me)
    assert "Nothing was changed" in e.value.hint
    assert held(before, "nc") == was
