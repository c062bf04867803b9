"""An account leaves a whole cloud with everything it owns, or leaves that to somebody: nothing is left over anywhere, whatever happens meanwhile."""

from __future__ import annotations

import pytest

from clc.services import departures, instances, people
from luhyadb.models import Account, Departure, Instance, Task
from tests.support.flow_world import NODES


def gone(cloud):
    return not Departure.objects.exists() and not Account.objects.filter(username="ada").exists()


def test_it_goes_when_the_last_machine_is_gone(cloud):
    running, stopped = cloud.do(), cloud.do()
    cloud.do("stop", stopped)
    starting, _ = cloud.ask()
    user = cloud.user
    assert departures.begin(cloud.admin, "ada") is False
    cloud.until_rest()
    assert gone(cloud)
    assert {cloud.state(one) for one in (running, stopped, starting)} == {"deleted"}
    assert cloud.domains() == {}
    assert not Account.objects.get(pk=user.pk).is_active
    cloud.rest()


def test_what_fails_on_its_node_is_ended_in_the_end(cloud):
    """A delete that comes to nothing is given again, though its owner signs in no more."""
    one = cloud.do()
    for name in NODES:
        cloud.p.hypervisor(name).faults.always["remove"] = "hypervisor"
    departures.begin(cloud.admin, "ada")
    cloud.until_rest()
    assert Departure.objects.exists(), "it is not there yet"
    for name in NODES:
        cloud.p.hypervisor(name).faults.always.clear()
    cloud.long(300)
    cloud.until_rest()
    assert gone(cloud)
    assert cloud.state(one) == "deleted"
    cloud.rest()


@pytest.mark.parametrize("role", ["clc", "cc", "nc1"])
def test_whoever_is_killed_meanwhile(cloud, role):
    ones = [cloud.do() for _ in range(2)]
    departures.begin(cloud.admin, "ada")
    cloud.crash(role)
    cloud.until_rest()
    assert gone(cloud)
    assert {cloud.state(one) for one in ones} == {"deleted"}
    cloud.rest()


def test_cancelled_half_way_what_is_left_is_theirs_and_works(cloud):
    one = cloud.do()
    departures.begin(cloud.admin, "ada")
    departures.cancel(cloud.admin, "ada")
    cloud.until_rest()
    assert cloud.user.is_active
    assert not Departure.objects.exists()
    two = cloud.do()
    assert cloud.state(two) == "running"
    assert cloud.state(one) == "deleted", "it was under way"
    cloud.rest()


def test_what_was_given_is_used_by_who_has_it_now(cloud):
    one = cloud.do()
    waiting, task = cloud.ask()
    heir = people.add(cloud.admin, "bob", "correct horse battery")
    departures.give(cloud.admin, "ada", "bob")
    cloud.until_rest()
    assert Task.objects.get(pk=task).owner == heir, "it goes on for him"
    assert {cloud.state(one), cloud.state(waiting)} == {"running"}
    for verb, state in (("stop", "stopped"), ("start", "running"), ("delete", "deleted")):
        row = getattr(instances, verb)(heir, one)
        cloud.until_rest()
        assert Instance.objects.get(pk=row.pk).state == state
    cloud.rest()
