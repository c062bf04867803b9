"""Each role is killed at each point of a flow; it starts again, and what was asked for is done."""

import pytest

from cc.drivers.fake import FakeEdge
from cc.services import leases
from luhyadb.models import Instance
from tests.support.flow_crashes import Fuse, fused, settle
from tests.support.flow_world import Crash
from tests.support.walks import sampled

ENDS = {"run": "running", "delete": "deleted"}
MANY = ("post progress", "post task/steps")


def _points(cloud, name, verb, ident="", first=0):
    """Of the points a role passes in one flow those to die at; of the reports that go out again anyway the first of a kind."""
    fuse = Fuse()
    with fused(cloud, name, fuse):
        one, _ = cloud.ask(verb, ident)
        settle(cloud, name)
    return one, sampled((n for n, point in enumerate(fuse.points) if point not in MANY or fuse.points.index(point) == n), first)


def _die(cloud, name, verb, at, ident=""):
    """One flow in which the role dies at that point."""
    fuse = Fuse(at)
    one, task = cloud.ask(verb, ident)
    with fused(cloud, name, fuse):
        died = settle(cloud, name)
    cloud.until_rest()
    told = f"{name} died at {at} of {verb}: {([*fuse.points, 'nowhere'])[at if died else -1]}"
    assert cloud.task(task) == ("done", None), told
    assert cloud.state(one) == ENDS[verb], told
    return one, died


@pytest.mark.walk
@pytest.mark.parametrize("image", ["cold", "warm"])
@pytest.mark.parametrize("name", ["clc", "cc", "nc1"])
def test_each_point_of_run_and_delete(cloud, name, image):
    if image == "warm":
        cloud.warm()
    if name == "nc1":
        cloud.drain_by_order("nc2")
    first = ["cold", "warm"].index(image)
    one, running = _points(cloud, name, "run", first=first)
    _, deleting = _points(cloud, name, "delete", one, first)
    made = []
    deaths = 0
    for at in running:
        if image == "cold":
            cloud.cold()
        one, died = _die(cloud, name, "run", at)
        made.append(one)
        deaths += died
    cloud.rest()
    for at, one in zip(deleting, made, strict=False):
        _, died = _die(cloud, name, "delete", at, one)
        deaths += died
    cloud.rest()
    assert deaths >= 0.8 * (len(running) + len(deleting))


@pytest.mark.walk
def test_each_point_of_a_run_whose_first_address_is_somebody_elses(cloud, monkeypatch):
    cloud.warm()
    monkeypatch.setattr(FakeEdge, "answering", lambda _self, nics: {nic.ip: "00:11:22:33:44:55" for nic in nics if nic.ip == "10.231.0.2"})
    monkeypatch.setattr(leases, "TAKEN_S", 5.0)
    one, running = _points(cloud, "cc", "run", first=1)
    for at in running:
        cloud.do("delete", one)
        cloud.p.pass_time(70)
        one, _ = _die(cloud, "cc", "run", at)
        (nic,) = Instance.objects.get(pk=one).nics
        assert nic["ip"] == "10.231.0.3", at
    cloud.rest()


@pytest.mark.walk
def test_all_roles_die_at_once_after_each_round(cloud):
    one, task = cloud.ask("run")
    for _ in range(40):
        moved = cloud.p.step()
        for name in list(cloud.p.houses):
            cloud.crash(name)
        if not moved:
            break
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_each_point_of_publishing_an_image(cloud):
    fuse = Fuse()
    with fused(cloud, "walrus", fuse):
        cloud.upload("calm")
        settle(cloud, "walrus")
    assert len(fuse.points) > 3
    for at in range(len(fuse.points)):
        task = cloud.upload(f"image-{at}")
        with fused(cloud, "walrus", Fuse(at)):
            assert settle(cloud, "walrus")
        cloud.until_rest()
        assert cloud.task(task.pk) == ("done", None), fuse.points[at]
    cloud.rest()


def test_a_cluster_that_dies_with_its_last_word_unsaid_says_it_much_later(cloud):
    fuse = Fuse()
    with fused(cloud, "cc", fuse):
        cloud.do()
    last = max(n for n, point in enumerate(fuse.points) if point == "BEGIN IMMEDIATE") + 1
    assert fuse.points[last] == "journal"
    fuse = Fuse(last)
    cloud.cold()
    one, task = cloud.ask()
    with fused(cloud, "cc", fuse), pytest.raises(Crash):
        cloud.p.settle()
    house = cloud.p.houses.pop("cc")
    house.agent.up.stop()
    cloud.clock.sleep(900)
    cloud.p.houses["cc"] = house
    cloud.crash("cc")
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "running"
    cloud.rest()
