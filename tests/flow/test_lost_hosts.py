"""A machine that is gone for good: an administrator says so, and nothing waits for it any more."""

import pytest

from clc.services import hosts, instances, losses, pictures, tasks
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import AddressLease, Child, Host, Instance, Outbox, Placement, Task, Turn
from tests.support.flow_world import opened

pytestmark = pytest.mark.walk


def _off(cloud, name):
    """Its machine is off for long enough to be told silent; its id."""
    house = cloud.p.houses.pop(name)
    cloud.p.pass_time(30)
    assert Host.objects.get(pk=house.agent.me).state == "silent"
    return house.agent.me


def _lent(cloud):
    with memory.of("cc"):
        held = set(AddressLease.objects.exclude(instance="").values_list("instance", flat=True))
        return held, set(Placement.objects.values_list("pk", flat=True)), set(Child.objects.values_list("pk", flat=True))


def test_what_was_on_it_fails_with_that_reason_and_begins_anew_elsewhere(cloud):
    runs, is_off = cloud.do(), cloud.do()
    name = cloud.node(runs)
    while cloud.node(is_off) != name:
        is_off = cloud.do()
    cloud.do("stop", is_off)
    node = _off(cloud, name)
    before = Instance.objects.get(pk=runs).nics
    losses.lost(cloud.admin, node)
    cloud.until_rest()
    assert Host.objects.get(pk=node).state == "retired"
    for one in (runs, is_off):
        row = Instance.objects.get(pk=one)
        assert (row.state, row.error["code"], row.node, row.nics) == ("failed", "host_lost", "", [])
        assert row.error["why"] == name
    held, placed, children = _lent(cloud)
    assert not {runs, is_off} & (held | placed)
    assert node not in children
    cloud.do("start", runs)
    assert cloud.state(runs) == "running"
    assert Instance.objects.get(pk=runs).node not in ("", node)
    assert Instance.objects.get(pk=runs).nics != before
    cloud.do("delete", is_off)
    cloud.rest()


def test_only_a_silent_host_can_be_given_up(cloud):
    one = cloud.do()
    node = Instance.objects.get(pk=one).node
    with pytest.raises(Refused) as refused:
        losses.lost(cloud.admin, node)
    assert (refused.value.code, refused.value.why) == ("state", "it is up")
    with pytest.raises(Refused) as refused:
        hosts.remove(cloud.admin, node)
    assert "--lost" in refused.value.hint
    assert cloud.state(one) == "running"
    cluster = Host.objects.get(role="cc").pk
    Host.objects.filter(pk=cluster).update(state="silent")
    with pytest.raises(Refused) as refused:
        losses.lost(cloud.admin, cluster)
    assert "hosts" in refused.value.why
    with pytest.raises(Refused):
        losses.lost(cloud.user, node)
    cloud.p.pass_time(15)
    cloud.rest()


def test_what_is_under_way_there_ends_and_a_delete_is_done_by_it(cloud):
    starts, goes = cloud.do(), cloud.do()
    name = cloud.node(starts)
    while cloud.node(goes) != name:
        goes = cloud.do()
    cloud.do("stop", starts)
    house = cloud.p.houses.pop(name)
    _, start = cloud.ask("start", starts)
    _, delete = cloud.ask("delete", goes)
    cloud.p.pass_time(30)
    assert {cloud.task(start)[0], cloud.task(delete)[0]} == {"running"}
    losses.lost(cloud.admin, house.agent.me)
    cloud.until_rest()
    assert cloud.task(start) == ("failed", "host_lost")
    assert cloud.task(delete) == ("done", None)
    assert (cloud.state(starts), cloud.state(goes)) == ("failed", "deleted")
    cloud.do("start", starts)
    cloud.rest()


def test_a_delete_it_never_heard_of_ends_too(cloud):
    one = cloud.do()
    node = _off(cloud, cloud.node(one))
    _, delete = cloud.ask("delete", one)
    cloud.long(1400)
    assert cloud.task(delete) == ("failed", "timeout")
    losses.lost(cloud.admin, node)
    cloud.until_rest()
    assert cloud.state(one) == "deleted"
    cloud.rest()


def test_the_word_is_said_again_when_it_is_lost_on_its_way(cloud):
    one = cloud.do()
    node = _off(cloud, cloud.node(one))
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] == "host/lost" else [m])
    losses.lost(cloud.admin, node)
    cloud.p.settle()
    assert node in _lent(cloud)[2]
    cloud.tap(lambda _d, _h, m: [m])
    cloud.p.pass_time(60)
    assert node not in _lent(cloud)[2]
    assert cloud.state(one) == "failed"
    cloud.do("delete", one)
    cloud.rest()


def test_one_that_comes_back_all_the_same_is_not_heard(cloud):
    """Its guest runs on there, beyond everybody's reach; here it is somebody new."""
    one = cloud.do()
    name = cloud.node(one)
    house = cloud.p.houses[name]
    node = _off(cloud, name)
    losses.lost(cloud.admin, node)
    cloud.until_rest()
    cloud.do("start", one)
    there = Instance.objects.get(pk=one).node
    cloud.p.houses[name] = house
    cloud.p.pass_time(60)
    assert Host.objects.get(pk=node).state == "retired"
    assert (cloud.state(one), Instance.objects.get(pk=one).node) == ("running", there)
    assert there not in ("", node)
    cloud.p.houses.pop(name)
    cloud.do("delete", one)


def test_a_cluster_that_is_gone_for_good_holds_nothing_either(cloud):
    one, going, waits = cloud.do(), cloud.do(), cloud.do()
    cloud.do("stop", waits)
    nodes = [cloud.p.houses.pop(name).agent.me for name in [n for n in cloud.p.houses if n.startswith("nc")]]
    cluster = cloud.p.houses.pop("cc").agent.me
    cloud.p.pass_time(30)
    _, stop = cloud.ask("stop", one)
    _, delete = cloud.ask("delete", going)
    _, start = cloud.ask("start", waits)
    cloud.p.settle()
    for host in [*nodes, *Host.objects.filter(boss=cluster).exclude(pk__in=nodes).values_list("pk", flat=True), cluster]:
        Host.objects.filter(pk=host).update(state="silent")
        losses.lost(cloud.admin, host)
    assert [cloud.task(t) for t in (stop, delete, start)] == [("failed", "host_lost")] * 3
    assert (cloud.state(one), cloud.state(going), cloud.state(waits)) == ("failed", "deleted", "failed")
    assert not Turn.objects.exists()
    assert not Task.objects.filter(state__in=["queued", "running", "cancelling", "lost"]).exists()
    row = Instance.objects.get(pk=one)
    assert (row.node, row.cluster, row.error["code"]) == ("", "", "host_lost")
    (again,) = [instances.start(cloud.user, one)]
    assert pictures.instance(again)["queue"]["what"] == "No cluster answers now"
    tasks.cancel(cloud.user, again.task)
    assert cloud.state(one) == "stopped"
    Outbox.objects.all().delete()


def test_a_node_on_which_something_was_just_placed_is_kept_by_its_cluster(cloud):
    """The news of the place came too late to refuse the removal."""
    cloud.warm()
    cloud.drain_by_order("nc2")
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] in ("placement/facts", "instance/facts", "outcome") else [m])
    one, run = cloud.ask()
    cloud.p.settle()
    node = cloud.p.known["nc1"][0].host
    assert Instance.objects.get(pk=one).node != node
    Host.objects.filter(pk=node).update(drained=False)
    hosts.remove(cloud.admin, node)
    cloud.p.settle()
    assert node in _lent(cloud)[2], "it is still heard"
    cloud.tap(lambda _d, _h, m: [m])
    cloud.until_rest()
    assert cloud.task(run)[0] == "done"
    assert cloud.state(one) == "running"
    cloud.do("delete", one)
    cloud.p.pass_time(60)
    assert node not in _lent(cloud)[2]
    cloud.rest()
