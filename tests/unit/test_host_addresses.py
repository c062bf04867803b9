"""Addresses that change: what the roles of a host were granted is brought up to date, and they stay who they are."""

import dataclasses

import pytest

from clc.services import own
from deploy.host import addresses, ground, memberships
from deploy.host.plan import Choices
from luhyaapi import conf
from luhyaapi.conf import Settings
from luhyaapi.errors import Refused
from luhyaapi.wire import identity, joining
from tests.support.granted import IDS, a_plan, elsewhere, held, member
from tests.unit.test_host_plan import me

OPEN = Choices(listen="10.0.0.1", address="10.0.0.1")


@pytest.fixture
def plan(tmp_path_factory):
    # pytest's own folders have names too long for a socket below them
    return a_plan(tmp_path_factory.mktemp("h", numbered=True))


def in_process(authority):
    """The two steps of the installation, without their processes."""

    def as_role(plan, role, *words, stdin=b""):
        if words == ("tls-request",):
            host = conf.Host(role=role, state=plan.home / role, tls=True)
            return joining.tls_request(Settings(host=host))
        assert (role, words[:2]) == ("clc", ("certify-door", "--host"))
        return identity.certify_tls(authority.authority_key, authority.authority, stdin.decode(), words[2])

    return as_role


@pytest.fixture
def joined(plan):
    """A whole cloud on loopback."""
    ground.prepare(plan, me)
    authority = own.make(plan.home / "clc")
    return {role: member(plan, authority, role) for role in IDS}, in_process(authority)


def test_roles_that_joined_on_loopback_speak_tls_when_the_cloud_opens(plan, joined):
    before, as_role = joined
    opened = dataclasses.replace(plan, choices=OPEN)
    assert memberships.renew(plan, as_role, me) == set(), "nothing moved"
    assert memberships.renew(opened, as_role, me) == {"walrus", "cc", "nc", "sc"}
    for role, was in before.items():
        now = held(opened, role)
        assert now.secured
        assert (now.host, now.boss, now.certificate) == (was.host, was.boss, was.certificate)
        assert now.broker == f"amqps://{IDS[role]}:p%2Fw@10.0.0.1:8615/{'clc' if role in ('walrus', 'cc') else 'cc'}"
        folder = opened.certificate(role).parent
        assert (folder / "membership.json").stat().st_mode & 0o777 == 0o600
        if role == "sc":
            assert not (folder / "tls.pem").exists(), "nobody comes to it"
        else:
            assert identity.names_in((folder / "tls.pem").read_text()) == {IDS[role], f"{role}.educloud"}
    assert held(opened, "walrus").broker_name == before["walrus"].boss
    assert held(opened, "nc").broker_name == "clc.educloud", "the one broker of the host shows the certificate of the CLC"
    assert (held(opened, "cc").streams, held(opened, "nc").streams) == ("10.0.0.1:8601", "10.0.0.1:8604")
    assert memberships.renew(opened, as_role, me) == set()


def test_another_address_and_back_to_loopback(plan, joined):
    before, as_role = joined
    memberships.renew(dataclasses.replace(plan, choices=OPEN), as_role, me)
    shown = (plan.certificate("nc").parent / "tls.pem").read_text()
    assert memberships.renew(dataclasses.replace(plan, choices=Choices("fd00::1", "fd00::1")), as_role, me) == set(IDS)
    assert held(plan, "nc").broker.endswith("@[fd00::1]:8615/cc")
    assert (plan.certificate("nc").parent / "tls.pem").read_text() == shown, "it names no address"
    assert memberships.renew(plan, as_role, me) == set(IDS)
    assert {role: (held(plan, role).broker, held(plan, role).streams, held(plan, role).secured) for role in IDS} == {
        role: (was.broker, was.streams, False) for role, was in before.items()
    }


# ---- hosts that joined from elsewhere


@pytest.fixture
def authority(tmp_path):
    return own.make(tmp_path / "clc")


def test_only_by_the_way_it_joined_a_node_follows(plan, authority):
    before = elsewhere(plan, "https://10.0.0.1:8603")
    member(before, authority, "nc", broker_name="clc.educloud", tls="pem")
    with pytest.raises(Refused, match="cannot go on at") as e:
        memberships.follow(elsewhere(plan, "http://10.0.0.1:8603"), before.choices, me)
    assert "make join" in e.value.hint
    member(before, authority, "nc")
    with pytest.raises(Refused, match="no certificate"):
        memberships.follow(before, before.choices, me)


def test_the_host_of_a_new_address_stands_in_broker_and_streams(plan, authority):
    """A boss on the same host is about to start there: it is not asked."""
    choices = Choices("10.0.0.2", "10.0.0.2", bosses={"cc": "https://10.0.0.1:8607", "nc": "https://10.0.0.2:8603"})
    before = dataclasses.replace(plan, choices=choices)
    member(before, authority, "nc", broker_name="cc-0000000c", tls="pem")
    after = addresses._at(choices, "10.0.0.3", "10.0.0.3")
    assert after.bosses == {"cc": "https://10.0.0.1:8607", "nc": "https://10.0.0.3:8603"}
    assert memberships.follow(dataclasses.replace(plan, choices=after), choices, me) == {"nc"}
    assert held(before, "nc").broker == f"amqp://{IDS['nc']}:p%2Fw@10.0.0.3:8610/cc"
    assert held(before, "nc").streams == "10.0.0.3:8604"


def test_a_host_that_joined_elsewhere_does_not_close_its_doors():
    with pytest.raises(Refused, match="cannot be used"):
        addresses.listening("127.0.0.1", Choices("10.0.0.2", "10.0.0.2", bosses={"nc": "https://10.0.0.1:8603"}))


def test_who_has_to_be_told_of_a_new_address(plan):
    opened = dataclasses.replace(plan, choices=OPEN)
    assert memberships.moved(opened, Choices()) == "", "nobody came to loopback"
    assert memberships.moved(opened, OPEN) == ""
    assert "10.0.0.9" in memberships.moved(opened, Choices("10.0.0.9", "10.0.0.9"))
    assert "BOSS=10.0.0.1" in memberships.moved(opened, Choices("10.0.0.9", "10.0.0.9"))
    assert memberships.moved(elsewhere(plan, "https://10.0.0.1:8603"), OPEN) == "", "nobody is below a node"
