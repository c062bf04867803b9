"""Guests that run without an order: one is adopted, one is put to sleep, many are left alone."""

import pytest

from cc.services import placements
from luhyaapi import ids
from luhyaapi.contracts.commands import DomainStart, DomainStop
from luhyaapi.contracts.vocabulary import DomainState
from luhyadb import memory, outbox
from luhyadb.models import Placement
from tests.support.flow_world import NODES, opened

pytestmark = pytest.mark.walk


def _elsewhere(cloud, one):
    return next(name for name in NODES if name != cloud.node(one))


def _copy(cloud, one, to):
    """The domain of an instance runs on another node too, as after a restored backup."""
    source, target = cloud.p.hypervisor(cloud.node(one)), cloud.p.hypervisor(to)
    target._write(one, source._read(one))


def _state(cloud, name, one):
    return cloud.p.hypervisor(name).inspect(one).state


def _second_life(cloud, one):
    """Its cluster had another node run it too."""
    other = _elsewhere(cloud, one)
    cluster, node = cloud.p.houses["cc"].agent, cloud.p.houses[other].agent.me
    with memory.thread_of("cc"), memory.atomic():
        place = Placement.objects.get(pk=one)
        order = DomainStart(instance=one, spec=placements.spec_of(place))
        outbox.send(order, node, sender=cluster.me, task=ids.new("tsk"), gen=place.gen, fence=place.fence)
    cloud.p.pass_time(5)
    assert _state(cloud, other, one) is DomainState.RUNNING
    return other


def _is_put_to_sleep(cloud, one, other):
    cloud.p.pass_time(40)
    assert _state(cloud, other, one) is DomainState.RUNNING, "not before it is sure"
    cloud.p.pass_time(60)
    assert _state(cloud, other, one) is DomainState.STOPPED
    assert _state(cloud, cloud.node(one), one) is DomainState.RUNNING
    assert cloud.state(one) == "running"


def test_a_second_life_elsewhere_is_stopped_after_a_while_and_its_disk_stays(cloud):
    one = cloud.do()
    other = _elsewhere(cloud, one)
    _copy(cloud, one, other)
    _is_put_to_sleep(cloud, one, other)


def test_what_another_node_was_told_to_run_too_is_stopped_there_when_it_is_asked(cloud):
    one, _ = cloud.do(), cloud.do()
    other = _second_life(cloud, one)
    cloud.p.pass_time(200)
    assert _state(cloud, other, one) is DomainState.RUNNING, "nobody asked"
    cloud.crash("cc")
    _is_put_to_sleep(cloud, one, other)
    cloud.p.pass_time(600)
    assert cloud.role("cc").twice == {}


def test_a_second_life_is_stopped_though_the_first_word_is_lost_and_more_than_a_tenth_have_one(cloud):
    made = [cloud.do() for _ in range(3)]
    others = [_second_life(cloud, one) for one in made]
    lost = []

    def lose(_direction, _host, message):
        if opened(message)["kind"] == DomainStop.kind and len(lost) < len(made):
            lost.append(message)
            return []
        return [message]

    cloud.tap(lose)
    cloud.crash("cc")
    cloud.p.pass_time(400)
    assert len(lost) == len(made)
    for one, other in zip(made, others, strict=True):
        assert _state(cloud, other, one) is DomainState.STOPPED
        assert _state(cloud, cloud.node(one), one) is DomainState.RUNNING


def test_what_shall_be_stopped_and_runs_forgotten_on_its_own_node_is_stopped(cloud):
    one = cloud.do()
    name = cloud.node(one)
    hypervisor = cloud.p.hypervisor(name)
    runs = hypervisor._read(one)
    cloud.do("stop", one)
    kept = cloud.role(name).domains.wanted
    kept.forget(one)
    kept.folder(one).mkdir(exist_ok=True)
    hypervisor._write(one, runs)
    cloud.p.pass_time(150)
    assert _state(cloud, name, one) is DomainState.STOPPED


def test_what_its_own_node_forgot_is_told_again(cloud):
    one = cloud.do()
    house = cloud.p.houses[cloud.node(one)]
    house.agent.services.domains.wanted.forget(one)
    cloud.p.pass_time(60)
    assert house.agent.services.domains.wanted.read(one) is not None
    assert _state(cloud, cloud.node(one), one) is DomainState.RUNNING
    cloud.rest()


def test_more_than_a_tenth_are_left_alone_and_told(cloud):
    made = [cloud.do() for _ in range(3)]
    for one in made:
        _copy(cloud, one, _elsewhere(cloud, one))
    cloud.p.pass_time(200)
    assert all(_state(cloud, _elsewhere(cloud, one), one) is DomainState.RUNNING for one in made)
    (cc,) = [h for h in cloud.p.houses if h == "cc"]
    told = cloud.role("clc").board.read([f"host:{cloud.p.houses[cc].agent.me}"])
    assert "left alone" in next(iter(told.values()))["health"]


def test_a_cluster_that_lost_its_memory_reaps_nothing(cloud):
    made = {one: cloud.node(one) for one in (cloud.do() for _ in range(3))}
    with memory.thread_of("cc"):
        Placement.objects.all().delete()
    for one, node in made.items():
        cloud.p.houses[node].agent.services.domains.wanted.forget(one)
    cloud.p.pass_time(200)
    assert {_state(cloud, node, one) for one, node in made.items()} == {DomainState.RUNNING}
