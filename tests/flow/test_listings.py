"""A cluster that has just begun asks its nodes what they have, before it places or lends anything: its database may be an older copy."""

import shutil
from types import SimpleNamespace

import pytest

from clc.services import instances
from luhyaapi import clock
from luhyaapi.contracts.commands import DomainStart, MachineTell
from luhyaapi.contracts.reports import MachinesFacts, PlacesFacts
from luhyaapi.contracts.vocabulary import DomainState
from luhyaapi.errors import Unavailable
from luhyadb import memory
from luhyadb.models import AddressLease, Child, FlowRun, Instance, Placement, PortLease
from nc.handlers.instances import TellMachine
from tests.support.flow_world import NODES, opened

pytestmark = pytest.mark.walk


def _forget(cloud, *made):
    """The cluster's database and journal are those of before these were run, and it begins again."""
    with memory.thread_of("cc"):
        for table in (FlowRun, AddressLease, PortLease):
            table.objects.filter(instance__in=made).delete()
        Placement.objects.filter(pk__in=made).delete()
    journal = cloud.p.houses["cc"].agent.journal
    with journal._write() as db:
        db.executemany("delete from commands where subject = ?", [(one,) for one in made])
    cloud.crash("cc")


def _place(one):
    with memory.thread_of("cc"):
        return Placement.objects.filter(pk=one).first()


def _running(cloud, one):
    return [name for name in NODES if name in cloud.p.houses and cloud.p.hypervisor(name).inspect(one).state is DomainState.RUNNING]


def _without(kind, to=""):
    def fault(_direction, _host, message):
        said = opened(message)
        return [] if said["kind"] == kind and said["to"].startswith(to) else [message]

    return fault


def test_a_first_run_that_the_copy_knows_nothing_of_is_not_placed_twice(cloud):
    cloud.tap(_without("outcome", "clc"))
    made = [cloud.ask()[0] for _ in range(4)]
    cloud.p.settle()
    where = {one: _running(cloud, one) for one in made}
    assert all(len(nodes) == 1 for nodes in where.values())
    cloud.tap(_without(PlacesFacts.kind))
    Instance.objects.update(node="", fence=0)
    _forget(cloud, *made)
    cloud.until_rest()
    assert {one: _running(cloud, one) for one in made} == where
    assert [cloud.state(one) for one in made] == ["running"] * 4
    cloud.rest()


def test_what_others_have_is_not_lent_before_it_is_known_again(cloud):
    made = [cloud.do() for _ in range(3)]
    cloud.p.pass_time(40)
    _forget(cloud, *made)
    late, task = cloud.ask()
    cloud.p.pass_time(60)
    assert cloud.task(task) == ("done", None)
    nics = [nic["ip"] for one in (*made, late) for nic in Instance.objects.get(pk=one).nics]
    assert len(set(nics)) == len(nics) == 4
    assert all(_place(one) for one in (*made, late))
    cloud.rest()


def test_after_an_ordinary_start_nobody_waits(cloud):
    one = cloud.do()
    cloud.crash("cc")
    other = cloud.do()
    assert cloud.state(one) == cloud.state(other) == "running"


def test_a_silent_node_is_not_waited_for_longer_than_till_it_is_silent(cloud):
    cloud.do()
    cloud.p.houses.pop(NODES[0])
    cloud.crash("cc")
    _, task = cloud.ask()
    cloud.p.pass_time(5)
    assert cloud.task(task)[0] == "queued"
    cloud.p.pass_time(100)
    assert cloud.task(task) == ("done", None)


def test_what_the_cloud_says_is_on_a_silent_node_is_not_lent_to_others(cloud):
    one = cloud.do()
    cloud.p.pass_time(40)
    name = cloud.node(one)
    house = cloud.p.houses.pop(name)
    _forget(cloud, one)
    cloud.p.pass_time(20)
    _, task = cloud.ask()
    cloud.p.pass_time(70)
    assert cloud.task(task)[0] == "queued"
    cloud.p.houses[name] = house
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    nics = [nic["ip"] for row in Instance.objects.all() for nic in row.nics]
    assert len(set(nics)) == len(nics) == 2
    cloud.rest()


def test_what_nobody_knows_holds_nothing_up_for_longer_than_two_minutes(cloud):
    one = cloud.do()
    cloud.p.pass_time(40)
    Instance.objects.filter(pk=one).delete()
    _forget(cloud, one)
    _, task = cloud.ask()
    cloud.p.pass_time(90)
    assert cloud.task(task)[0] == "queued"
    cloud.p.pass_time(60)
    assert cloud.task(task) == ("done", None)


@pytest.mark.parametrize("knows", [{MachineTell.kind: 1}, {}])
def test_a_node_of_before_is_not_asked(cloud, knows):
    with memory.thread_of("cc"):
        for child in Child.objects.filter(role="nc"):
            speaks = {kind: v for kind, v in child.speaks.items() if kind != MachineTell.kind}
            Child.objects.filter(pk=child.pk).update(speaks=speaks | knows)
    cloud.crash("cc")
    kinds = []
    cloud.tap(lambda _direction, _host, message: kinds.append(opened(message)["kind"]) or [message])
    cloud.do()
    assert MachinesFacts.kind not in kinds


def test_what_changed_before_the_clock_was_set_back_is_known_again_too(cloud):
    one = cloud.do()
    cloud.p.pass_time(40)
    Instance.objects.filter(pk=one).update(changed_at=clock.now() + 1000)
    _forget(cloud, one)
    cloud.p.pass_time(60)
    assert _place(one) is not None
    cloud.rest()


def test_a_node_that_comes_late_is_asked_too(cloud):
    one = cloud.do()
    cloud.p.pass_time(40)
    name = cloud.node(one)
    house = cloud.p.houses.pop(name)
    _forget(cloud, one)
    cloud.p.pass_time(200)
    assert cloud.role("cc").listings[house.agent.me].instances is None
    cloud.p.houses[name] = house
    house.agent.hello()
    cloud.p.settle()
    assert cloud.role("cc").listings[house.agent.me].instances == {one}


def test_a_start_that_waits_for_its_turn_is_there_already(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    name = cloud.node(one)
    house, worker = cloud.p.houses[name], cloud.p.houses[name].agent.worker
    _, task = cloud.ask("start", one)
    worker.step = lambda: 0
    cloud.p.settle()
    (row,) = house.agent.journal.open_rows()
    start = row.envelope.model_copy(update={"id": f"{task}#boot.0", "kind": DomainStart.kind, "subject": one})
    house.agent.journal.accept(start, DomainStart.lane)
    shutil.rmtree(house.agent.services.domains.wanted.folder(one))
    job = SimpleNamespace(services=house.agent.services, task=task, envelope=row.envelope)
    with pytest.raises(Unavailable, match="about to be started"):
        TellMachine().run(job, MachineTell(instance=one))
    TellMachine().run(job, MachineTell())
    cloud.p.settle()
    assert cloud.role("cc").listings[house.agent.me].instances == {one}


def test_a_lost_answer_is_asked_for_again(cloud):
    cloud.tap(_without(MachinesFacts.kind))
    cloud.crash("cc")
    _, task = cloud.ask()
    cloud.p.pass_time(8)
    assert cloud.task(task)[0] == "queued"
    cloud.tap(lambda _direction, _host, message: [message])
    cloud.p.pass_time(20)
    assert cloud.task(task) == ("done", None)


def test_an_order_that_is_said_again_names_the_place_its_instance_has_by_now(cloud):
    said = []

    def look(_direction, _host, message):
        envelope = opened(message)
        if envelope["kind"] == "instance/run":
            said.append((envelope["id"], envelope["fence"], envelope["body"]))
        return [] if envelope["kind"] == "outcome" and envelope["to"].startswith("clc") else [message]

    cloud.tap(look)
    one, _ = cloud.ask()
    cloud.p.pass_time(150)
    row = Instance.objects.get(pk=one)
    (first, *again) = said
    assert again
    assert first[1] == 0
    assert row.node not in first[2]
    assert all((command, fence) == (first[0], row.fence) and row.node in body for command, fence, body in again)


def test_what_a_node_tells_of_another_is_not_believed(cloud):
    cloud.do()
    liar, other = (cloud.p.houses[name].agent for name in NODES[:2])
    liar.report(MachinesFacts(node=other.me, instances=("ins-0000000b",)))
    cloud.p.settle()
    assert all("ins-0000000b" not in (listing.instances or ()) for listing in cloud.role("cc").listings.values())
    instances.delete(cloud.user, cloud.do())
    cloud.until_rest()
    cloud.rest()
