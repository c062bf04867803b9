"""More runs than there is room for: who waits knows why and how long, owners take turns, and nothing gets lost."""

from collections import Counter

import pytest

from clc.services import instances, networks, people, pictures, queue, tasks
from luhyaapi import clock
from luhyaapi.errors import Refused, Unavailable
from luhyadb import memory
from luhyadb.models import Event, FlowRun, Gate, Instance, Outbox, Task, Turn
from tests.support.flow_world import NODES

pytestmark = pytest.mark.walk

GIB = 1024 * 1024 * 1024
HALF = 100 * GIB
"""Two of these fill a node, four the cloud."""


@pytest.fixture
def bob(cloud):
    return people.add(None, "bob", "correct horse battery", "user")


def _full(cloud, count=4):
    """Instances that leave no room for another of their size."""
    full = [cloud.do(memory_bytes=HALF) for _ in range(count)]
    assert cloud.open_things() == {}
    return full


def _run(owner, count=1, **more):
    return [(r.pk, r.task) for r in instances.run(owner, instances.Ask("tiny", count=count, **{"memory_bytes": HALF} | more))]


def _look(task):
    return pictures.task(Task.objects.get(pk=task))["queue"]


def _states(*found):
    return [(Instance.objects.get(pk=i).state, Task.objects.get(pk=t).state) for i, t in found]


def test_what_does_not_fit_waits_with_its_place_and_reason(cloud):
    _full(cloud)
    made = _run(cloud.user, 3)
    cloud.p.settle()
    assert _states(*made) == [("queued", "queued")] * 3
    looks = [_look(t) for _, t in made]
    assert [(q["place"], q["of"]) for q in looks] == [(1, 3), (2, 3), (3, 3)]
    for look in looks:
        assert look["what"] == "No node can take 1 CPU and 102400 MiB of memory now"
        assert "not enough memory" in look["why"]
        assert look["until"]
    shown = pictures.instance(Instance.objects.get(pk=made[1][0]))
    assert (shown["state"], shown["queue"]["place"], shown["cluster"]) == ("queued", 2, None)
    assert Task.objects.get(pk=made[0][1]).steps.count() == 0
    assert Event.objects.filter(task=made[0][1], what="waits for room").count() == 1


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_freed_room_lets_the_next_one_in_at_once(cloud, verb):
    full = _full(cloud)
    one, two = _run(cloud.user, 2)
    cloud.p.settle()
    cloud.do(verb, full[0])
    assert _states(one, two) == [("running", "done"), ("queued", "queued")]
    assert _look(one[1]) is None
    assert _look(two[1])["place"] == 1
    cloud.do(verb, full[1])
    assert _states(two) == [("running", "done")]
    cloud.rest()
    assert not Turn.objects.exists()


def test_a_guest_that_ends_by_itself_makes_room(cloud):
    full = _full(cloud)
    (one,) = _run(cloud.user)
    cloud.p.settle()
    cloud.p.hypervisor(cloud.node(full[0])).stop(full[0], 0)
    cloud.p.settle()
    assert cloud.state(full[0]) == "stopped"
    assert _states(one) == [("running", "done")]


def test_room_that_nobody_told_of_is_found_by_asking_again(cloud):
    cloud.drain("nc1")
    cloud.drain("nc2")
    (one,) = _run(cloud.user)
    cloud.p.settle()
    assert "is being drained" in _look(one[1])["why"]
    with memory.of("cc"):
        from cc.services import children

        for name in NODES:
            children.drain(cloud.p.houses[name].agent.me, on=False)
    cloud.p.pass_time(queue.ASK_AGAIN_S + 10)
    assert _states(one) == [("running", "done")]


def test_a_resumed_node_takes_those_who_wait(cloud):
    for name in NODES:
        cloud.drain_by_order(name)
    (one,) = _run(cloud.user)
    cloud.p.settle()
    assert _states(one) == [("queued", "queued")]
    from clc.services import hosts

    hosts.drain(cloud.admin, cloud.p.known["nc1"][0].host, on=False)
    cloud.p.pass_time(15)
    assert _states(one) == [("running", "done")]


def test_owners_take_turns(cloud, bob):
    _full(cloud)
    many = _run(cloud.user, 20)
    few = _run(bob, 2)
    cloud.p.settle()
    assert [_look(t)["place"] for _, t in few] == [2, 4]
    assert _look(many[0][1])["place"] == 1
    assert _look(many[2][1])["place"] == 5
    for each in Instance.objects.filter(state="running"):
        cloud.do("delete", each.pk)
    assert Counter(_states(*many)) == {("running", "done"): 2, ("queued", "queued"): 18}
    assert _states(*few) == [("running", "done")] * 2


def test_one_of_another_owner_is_not_behind_nine_hundred(cloud, bob):
    _full(cloud)
    for _ in range(9):
        _run(cloud.user, 100)
    assert Outbox.objects.count() == 16, "eight for each node, whatever waits"
    cloud.p.settle()
    with memory.of("cc"):
        assert FlowRun.objects.exclude(instance__in=cloud.domains()).count() == 16, "one question each, then no more"
    (one,) = _run(bob)
    assert (_look(one[1])["place"], _look(one[1])["of"]) == (2, 901)
    cloud.do("delete", Instance.objects.filter(state="running").first().pk)
    cloud.do("delete", Instance.objects.filter(state="running", owner=cloud.user).first().pk)
    assert _states(one) == [("running", "done")]


def test_a_smaller_one_passes_and_the_bigger_one_has_its_turn_later(cloud):
    full = _full(cloud)
    for one in full[:1]:
        cloud.do("delete", one)
    (big,) = _run(cloud.user, memory_bytes=150 * GIB)
    (small,) = _run(cloud.user, memory_bytes=GIB)
    cloud.p.settle()
    assert _states(big, small) == [("queued", "queued"), ("running", "done")]
    node = cloud.node(small[0])
    for one in [i for i in full[1:] if cloud.node(i) != node]:
        cloud.do("delete", one)
    assert _states(big) == [("running", "done")]


def test_cancelling_one_that_waits_is_immediate(cloud):
    _full(cloud)
    one, two = _run(cloud.user, 2)
    cloud.p.settle()
    assert tasks.cancel(cloud.user, one[1]).state == "cancelled"
    assert _states(one) == [("deleted", "cancelled")]
    assert not Outbox.objects.exists()
    assert (_look(two[1])["place"], _look(one[1])) == (1, None)
    cloud.p.settle()
    assert _states(two) == [("queued", "queued")]


def test_deleting_and_stopping_one_that_waits_is_immediate(cloud):
    full = _full(cloud)
    one, two = _run(cloud.user, 2)
    cloud.p.settle()
    gone = instances.delete(cloud.user, one[0])
    assert (gone.state, gone.live_name) == ("deleted", None)
    assert Task.objects.get(pk=gone.task).state == "done"
    halted = instances.stop(cloud.user, two[0])
    assert (halted.state, Task.objects.get(pk=two[1]).state) == ("stopped", "cancelled")
    assert not Outbox.objects.exists()
    cloud.do("delete", full[0])
    cloud.do("start", two[0])
    assert cloud.state(two[0]) == "running"
    cloud.rest()


def test_a_stopped_one_waits_for_its_own_node(cloud):
    one = cloud.do(memory_bytes=HALF)
    cloud.do("stop", one)
    node = cloud.node(one)
    full = _full(cloud)
    _, task = cloud.ask("start", one)
    cloud.p.settle()
    assert _states((one, task)) == [("queued", "queued")]
    look = _look(task)
    assert look["what"] == "Its node cannot take it now"
    cloud.do("delete", next(i for i in full if cloud.node(i) != node))
    assert _states((one, task)) == [("queued", "queued")]
    cloud.do("delete", next(i for i in full if Instance.objects.get(pk=i).state == "running" and cloud.node(i) == node))
    assert _states((one, task)) == [("running", "done")]
    cloud.rest()


def test_a_network_that_is_used_up_holds_those_alone_who_need_an_address_of_it(cloud, bob):
    networks.create(cloud.admin, networks.Ask(cluster="", name="small", subnet="10.90.0.0/29", ranges=("10.90.0.3",)))
    cloud.p.settle()
    stopped = cloud.do(memory_bytes=GIB)
    cloud.do("stop", stopped)
    one, two, both = (_run(cloud.user, memory_bytes=GIB, networks=names)[0] for names in (("small",), ("small",), ("default", "small")))
    cloud.p.settle()
    assert _states(one, two, both) == [("running", "done"), ("queued", "queued"), ("queued", "queued")]
    assert [_look(task)["what"] for _, task in (two, both)] == [queue.NO_ADDRESS] * 2
    assert "of 1, 1 are lent" in _look(two[1])["why"]
    others = [*_run(bob, memory_bytes=2 * GIB), *_run(cloud.user, memory_bytes=2 * GIB, networks=("default",)), (stopped, cloud.ask("start", stopped)[1])]
    cloud.p.settle()
    assert _states(*others) == [("running", "done")] * 3
    cloud.do("delete", one[0])
    cloud.p.pass_time(120)
    assert sorted(_states(two, both)) == [("queued", "queued"), ("running", "done")]


def test_a_start_that_waits_can_be_taken_back(cloud):
    one = cloud.do(memory_bytes=HALF)
    cloud.do("stop", one)
    _full(cloud)
    _, first = cloud.ask("start", one)
    cloud.p.settle()
    tasks.cancel(cloud.user, first)
    assert _states((one, first)) == [("stopped", "cancelled")]
    _, second = cloud.ask("start", one)
    cloud.p.settle()
    cloud.do("delete", one)
    assert _states((one, second)) == [("deleted", "cancelled")]
    cloud.rest()


def test_who_asks_for_more_than_any_node_has_is_refused(cloud):
    with pytest.raises(Refused, match="No node is that big") as e:
        _run(cloud.user, memory_bytes=300 * GIB)
    assert (e.value.code, e.value.params["field"]) == ("invalid", "memory_bytes")
    assert e.value.why == "the most that one offers is 200 CPUs, and 204800 MiB of memory"
    assert not Instance.objects.exists()


def test_a_full_queue_refuses(cloud, bob, queue_set):
    _full(cloud)
    queue_set(at_most=5, each_at_most=3)
    with pytest.raises(Refused, match="Too many runs of yours would wait") as e:
        _run(cloud.user, 4)
    assert (e.value.code, e.value.why) == ("quota", "0 wait, at most 3 can")
    _run(cloud.user, 3)
    cloud.p.settle()
    with pytest.raises(Unavailable, match="The queue is full") as full:
        _run(bob, 3)
    assert (full.value.code, full.value.why) == ("no_capacity", "3 runs wait, at most 5 can")
    assert Instance.objects.filter(owner=bob).count() == 0
    _run(bob, 2)
    cloud.p.settle()
    with pytest.raises(Unavailable, match="The queue is full"):
        _run(bob)


def test_nobody_waits_for_ever(cloud, queue_set):
    queue_set(wait_s=60)
    full = _full(cloud)
    (one,) = _run(cloud.user)
    cloud.p.pass_time(50)
    assert _states(one) == [("queued", "queued")]
    cloud.p.pass_time(20)
    assert _states(one) == [("failed", "failed")]
    error = Instance.objects.get(pk=one[0]).error
    assert (error["code"], error["what"]) == ("no_capacity", "No room was found in time")
    assert "not enough memory" in error["why"]
    cloud.rest()
    cloud.do("delete", full[0])
    cloud.do("start", one[0])
    cloud.do("delete", one[0])
    cloud.rest()


def test_who_entered_while_our_clock_was_ahead_waits_no_longer_for_it(cloud, queue_set):
    queue_set(wait_s=60)
    _full(cloud)
    (waits,) = _run(cloud.user)
    cloud.p.settle()
    Turn.objects.update(until=clock.now() + 3660)
    cloud.p.pass_time(30)
    assert _states(waits) == [("queued", "queued")]
    cloud.p.pass_time(90)
    assert _states(waits) == [("failed", "failed")]


def test_who_failed_in_the_queue_is_deleted_without_anybody_below(cloud, queue_set):
    queue_set(wait_s=20)
    _full(cloud)
    (one,) = _run(cloud.user)
    cloud.p.pass_time(60)
    assert instances.delete(cloud.user, one[0]).state == "deleted"


@pytest.mark.parametrize("away", ["cc", "walrus"])
def test_while_a_host_is_silent_they_wait_and_say_so(cloud, away):
    cloud.p.stop(away)
    for _ in range(6):
        cloud.clock.sleep(5)
        cloud.p.beat()
    (one,) = _run(cloud.user)
    cloud.p.settle()
    assert _states(one) == [("queued", "queued")]
    assert _look(one[1])["what"] == {"cc": "No cluster answers now", "walrus": "The image store does not answer now"}[away]
    cloud.p.restart(away)
    cloud.p.pass_time(60)
    assert _states(one) == [("running", "done")]


@pytest.mark.parametrize("name", ["clc", "cc", "nc1"])
def test_a_restart_loses_nobody(cloud, name):
    full = _full(cloud)
    made = _run(cloud.user, 6)
    cloud.p.settle()
    for n, one in enumerate(full):
        cloud.ask("delete", one)
        for _ in range(n):
            cloud.p.step()
        cloud.crash(name)
    cloud.p.pass_time(120)
    assert Counter(_states(*made)) == {("running", "done"): 4, ("queued", "queued"): 2}
    assert Gate.objects.get().careful


def test_a_cancel_that_crosses_the_refusal_leaves_nothing(cloud):
    _full(cloud)
    (one,) = _run(cloud.user)
    assert tasks.cancel(cloud.user, one[1]).state == "cancelling"
    cloud.until_rest()
    assert _states(one) == [("deleted", "cancelled")]
    cloud.rest()


def test_a_stop_that_crosses_the_refusal_leaves_a_stopped_instance(cloud):
    _full(cloud)
    (one,) = _run(cloud.user)
    instances.stop(cloud.user, one[0])
    cloud.until_rest()
    assert cloud.state(one[0]) == "stopped"
    assert not Turn.objects.exists()
    cloud.rest()


def test_orders_go_down_in_a_window(cloud, queue_set):
    queue_set(per_node=3)
    made = _run(cloud.user, 40, memory_bytes=GIB)
    assert Outbox.objects.count() == 6
    most = 0
    while cloud.p.step():
        with memory.of("cc"):
            most = max(most, FlowRun.objects.filter(ended_at=0).count())
    assert most <= 6
    assert _states(*made) == [("running", "done")] * 40
    cloud.rest()
