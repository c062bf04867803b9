"""After a node was away: what is said of its guests is true from its first hello, and they run again."""

from __future__ import annotations

import pytest

from luhyaapi import facts
from luhyaapi.contracts.vocabulary import DomainState
from luhyadb import memory
from luhyadb.models import Event, Instance, Placement
from nc.drivers.fake import FakeHypervisor
from nc.services import belongings

pytestmark = pytest.mark.walk


@pytest.fixture
def mute(monkeypatch):
    """Hypervisors that do not answer, also of roles that start anew, until told."""
    answering = {"now": False}
    real = FakeHypervisor.__init__

    def init(self, folder):
        real(self, folder)
        if not answering["now"]:
            self.faults.always.update(dict.fromkeys(("probe", "list", "inspect", "start"), "hypervisor_down"))

    def answer(driver):
        answering["now"] = True
        driver.faults.always.clear()

    monkeypatch.setattr(FakeHypervisor, "__init__", init)
    return answer


def _row(cloud, one):
    return Instance.objects.get(pk=one)


def _power_off(cloud, *guests):
    """The node is killed with its guests; its name."""
    name = cloud.node(guests[0])
    for one in guests:
        cloud.p.hypervisor(name)._become(one, DomainState.STOPPED)
    return name


def test_from_the_first_hello_a_guest_that_does_not_run_is_starting(cloud):
    cloud.drain("nc2")
    one, two, three = cloud.do(), cloud.do(), cloud.do()
    cloud.do("stop", three)
    name = _power_off(cloud, one, two)
    assert cloud.state(one) == "running"
    cloud.crash(name)
    cloud.p.settle()
    for each in (one, two):
        row = _row(cloud, each)
        assert (row.state, row.wanted, row.error["code"]) == ("starting", "running", "interrupted")
        assert row.error["what"] == "The guest is started again"
        assert row.error["why"] == "its node was away"
    assert cloud.state(three) == "stopped"
    with memory.of("cc"):
        assert set(Placement.objects.filter(pk__in=(one, two)).values_list("wanted", "found")) == {("running", "starting")}
    cloud.p.beat()
    assert [(_row(cloud, each).state, _row(cloud, each).error) for each in (one, two)] == [("running", None)] * 2
    assert cloud.domains()[three] == [(name, DomainState.STOPPED)]
    cloud.rest()


def test_a_node_that_starts_again_beside_its_running_guests_says_they_run(cloud):
    one = cloud.do()
    before = Event.objects.filter(subject=one).count()
    cloud.crash(cloud.node(one))
    cloud.p.settle()
    assert (cloud.state(one), Event.objects.filter(subject=one).count()) == ("running", before)
    cloud.rest()


def test_after_a_boot_of_the_host_nothing_runs_also_before_the_hypervisor_answers(cloud, mute):
    one = cloud.do()
    name = _power_off(cloud, one)
    (cloud.folder / name / "instances" / "boot-id").write_text("of another boot")
    cloud.crash(name)
    cloud.p.settle()
    assert (cloud.state(one), _row(cloud, one).error["code"]) == ("starting", "interrupted")
    cloud.p.pass_time(10)
    assert cloud.state(one) == "starting"
    mute(cloud.p.hypervisor(name))
    cloud.p.pass_time(10)
    assert cloud.state(one) == "running"
    assert (cloud.folder / name / "instances" / "boot-id").read_text() == facts.boot_id()
    cloud.rest()


def test_in_the_same_boot_nothing_is_said_of_guests_nobody_could_ask_for(cloud, mute):
    one = cloud.do()
    name = cloud.node(one)
    cloud.crash(name)
    cloud.p.pass_time(5)
    assert cloud.state(one) == "running"
    mute(cloud.p.hypervisor(name))
    cloud.p.pass_time(10)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_boot_that_fails_is_told_once_and_does_not_flap(cloud):
    one = cloud.do()
    name = _power_off(cloud, one)
    cloud.crash(name)
    cloud.p.settle()
    cloud.p.hypervisor(name).faults.always["start"] = "hypervisor"
    cloud.p.pass_time(10)
    row = _row(cloud, one)
    assert (row.state, row.error["code"]) == ("failed", "hypervisor")
    told = [e.what for e in Event.objects.filter(subject=one).order_by("pk")]
    assert (told.count("instance starting"), told.count("instance failed")) == (2, 1)  # the first is the run itself
    cloud.p.hypervisor(name).faults.always.clear()
    cloud.p.pass_time(10)
    assert (cloud.state(one), _row(cloud, one).error) == ("running", None)
    cloud.rest()


def test_a_boot_that_fails_again_and_again_is_given_up_and_keeps_its_reason(cloud):
    one = cloud.do()
    name = _power_off(cloud, one)
    cloud.crash(name)
    cloud.p.hypervisor(name).faults.always["start"] = "hypervisor"
    cloud.p.pass_time(60)
    cloud.p.hypervisor(name).faults.always.clear()
    cloud.p.pass_time(20)
    row = _row(cloud, one)
    assert (row.state, row.error["code"], row.error["what"]) == ("failed", "hypervisor", f"start {one}")
    cloud.rest()
    cloud.do("start", one)
    assert _row(cloud, one).error is None
    cloud.rest()


def test_one_can_stop_what_is_starting(cloud):
    one = cloud.do()
    name = _power_off(cloud, one)
    cloud.crash(name)
    cloud.p.settle()
    assert cloud.state(one) == "starting"
    cloud.do("stop", one)
    assert _row(cloud, one).error is None
    cloud.p.pass_time(10)
    cloud.rest()


def test_sockets_of_guests_that_run_no_more_are_taken_away(cloud):
    one = cloud.do()
    name = cloud.node(one)
    screen = belongings.screen_of(cloud.role(name).domains.wanted.folder(one))
    assert screen.is_socket()
    cloud.p.hypervisor(name).stop(one, 5)
    cloud.p.settle()
    assert cloud.state(one) == "stopped"
    assert not screen.exists()
    cloud.do("start", one)
    assert screen.is_socket()
    cloud.do("stop", one)
    assert not screen.exists()
    cloud.do("start", one)
    cloud.do("delete", one)
    assert not screen.parent.parent.exists()
    cloud.rest()
