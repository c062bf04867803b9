"""Orders that were under way in a restored copy of a cluster's database: what came to its end since is not taken back."""

import pytest

from cc.services.flows import FLOWS
from clc.services import renewals
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import DomainStart
from luhyaapi.contracts.reports import Outcome, PlacementFacts
from luhyaapi.contracts.specs import Fault
from luhyaapi.contracts.vocabulary import DomainState
from luhyadb import memory
from luhyadb.models import AddressLease, FlowRun, Instance, Placement
from tests.support.flow_world import opened

pytestmark = pytest.mark.walk


def _copied(cloud, ask):
    """Give an order and have it done; the cluster's rows as they were when its node was told to start the guest."""
    copies = []

    def look(_direction, _host, message):
        said = opened(message)
        if said["kind"] == DomainStart.kind and not copies:
            one = said["subject"]
            with memory.thread_of("cc"):
                copies.append((list(FlowRun.objects.filter(instance=one, ended_at=0)), list(Placement.objects.filter(pk=one))))
        return [message]

    cloud.tap(look)
    one, task = ask()
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    ((run,), (_,)) = copies[0]
    assert run.waiting
    return one, task, copies[0]


def _earlier(copy):
    """The same when the step before it was under way."""
    run = copy[0][0]
    run.step -= 1
    name = FLOWS[run.kind][run.step].name
    run.waiting = ids.command_id(run.task, name, run.attempt)
    run.facts |= {"at": ""}
    return copy


def _restore(cloud, one, copy, deadline_s=-60):
    """The cluster's database is that copy again, long after what was under way there should have ended."""
    cloud.p.pass_time(40)
    copy[0][0].deadline = clock.now() + deadline_s
    with memory.thread_of("cc"):
        FlowRun.objects.filter(instance=one).delete()
        Placement.objects.filter(pk=one).delete()
        FlowRun.objects.bulk_create(copy[0])
        Placement.objects.bulk_create(copy[1])
    cloud.crash("cc")


def _place(one):
    with memory.thread_of("cc"):
        return Placement.objects.filter(pk=one).first()


def _open(one):
    with memory.thread_of("cc"):
        return FlowRun.objects.filter(instance=one, ended_at=0).exists()


@pytest.mark.parametrize("before", [_earlier, lambda copy: copy], ids=["address", "boot"])
def test_a_first_run_that_ended_since_the_copy_runs_on(cloud, before):
    one, task, copy = _copied(cloud, cloud.ask)
    copy = before(copy)
    seen = Instance.objects.get(pk=one)
    _restore(cloud, one, copy)
    cloud.p.pass_time(60)
    place = _place(one)
    assert (place.wanted, place.found, place.found_gen) == ("running", "running", seen.gen)
    assert not _open(one)
    assert cloud.p.hypervisor(cloud.node(one)).inspect(one).state is DomainState.RUNNING
    after = Instance.objects.get(pk=one)
    assert (after.state, after.node, after.nics, after.fence) == ("running", seen.node, seen.nics, seen.fence)
    assert cloud.task(task) == ("done", None)
    cloud.rest()


def test_a_first_run_that_was_stopped_since_the_copy_stays_as_it_is(cloud):
    one, _, copy = _copied(cloud, cloud.ask)
    cloud.do("stop", one)
    _restore(cloud, one, copy)
    cloud.p.pass_time(60)
    assert (_place(one).wanted, _place(one).found) == ("stopped", "stopped")
    assert cloud.state(one) == "stopped"
    assert one in cloud.domains()
    cloud.do("start", one)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_first_run_that_was_switched_off_from_inside_keeps_its_disk(cloud):
    one, _, copy = _copied(cloud, cloud.ask)
    cloud.p.hypervisor(cloud.node(one)).end(one)
    cloud.p.pass_time(40)
    assert cloud.state(one) == "stopped"
    _restore(cloud, one, copy)
    cloud.p.pass_time(60)
    assert not _open(one)
    assert one in cloud.domains()
    assert (_place(one).wanted, cloud.state(one)) == ("stopped", "stopped")
    cloud.rest()


def test_a_young_copy_asks_too(cloud):
    one, _, copy = _copied(cloud, cloud.ask)
    name = cloud.node(one)
    _restore(cloud, one, copy, deadline_s=90)
    house = cloud.p.houses.pop(name)
    cloud.p.pass_time(160)
    cloud.p.houses[name] = house
    cloud.p.pass_time(90)
    assert not _open(one)
    assert _place(one) is not None
    assert cloud.p.hypervisor(name).inspect(one).state is DomainState.RUNNING
    cloud.do("delete", one)
    cloud.rest()


@pytest.mark.parametrize("is_there", [True, False])
def test_an_order_to_itself_whose_time_is_over_takes_nothing_back_unasked(cloud, is_there):
    one, _, copy = _copied(cloud, cloud.ask)
    copy = _earlier(copy)
    run = copy[0][0]
    run.facts |= {"at": cloud.p.houses["cc"].agent.me}
    if not is_there:
        row = Instance.objects.get(pk=one)
        cloud.p.houses[cloud.node(one)].agent.services.domains.delete(one, row.gen, row.fence)
    _restore(cloud, one, copy, deadline_s=600)
    me = cloud.p.houses["cc"].agent
    fault = Fault(code="timeout", what="Its deadline passed before it could be done", why="")
    me.reduce_own(Outcome(command=run.waiting, task=run.task, error=fault), run.task)
    cloud.p.pass_time(60)
    assert not _open(one)
    assert (_place(one) is not None) == is_there
    assert (one in cloud.domains()) == is_there
    cloud.until_rest()
    cloud.rest()


def test_a_first_run_that_its_node_has_nothing_of_is_taken_back(cloud):
    one, _, copy = _copied(cloud, cloud.ask)
    row = Instance.objects.get(pk=one)
    cloud.p.houses[cloud.node(one)].agent.services.domains.delete(one, row.gen, row.fence)
    _restore(cloud, one, copy)
    cloud.until_rest()
    assert _place(one) is None
    assert not _open(one)
    with memory.thread_of("cc"):
        assert not AddressLease.objects.filter(instance=one).exists()
    row.refresh_from_db()
    assert (row.state, row.node) == ("stopped", "")
    cloud.do("start", one)
    cloud.rest()


def test_nothing_is_taken_back_while_its_node_is_silent(cloud):
    one, _, copy = _copied(cloud, cloud.ask)
    name = cloud.node(one)
    house = cloud.p.houses.pop(name)
    _restore(cloud, one, copy)
    cloud.p.pass_time(60)
    assert _open(one)
    cloud.p.pass_time(180)
    assert not _open(one)
    assert _place(one) is not None
    cloud.p.houses[name] = house
    cloud.p.pass_time(60)
    assert cloud.p.hypervisor(name).inspect(one).state is DomainState.RUNNING
    assert cloud.state(one) == "running"
    cloud.do("delete", one)
    assert one not in cloud.domains()
    cloud.rest()


def test_a_restored_disk_is_not_stopped_again(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    cloud.do("start", one)

    def ask():
        return one, renewals.restore(cloud.user, one).task

    _, _, copy = _copied(cloud, ask)
    before = cloud.p.hypervisor(cloud.node(one)).inspect(one).state
    _restore(cloud, one, copy)
    cloud.p.pass_time(120)
    assert not _open(one)
    assert cloud.p.hypervisor(cloud.node(one)).inspect(one).state is before
    cloud.rest()


def test_a_flow_that_this_process_began_asks_nobody(cloud):
    asked = []
    cloud.tap(lambda _direction, _host, message: asked.append(opened(message)["kind"]) or [message])
    one, _ = cloud.ask()
    # until it has a place
    while _place(one) is None:
        cloud.p.step()
    cloud.p.houses.pop(next(name for name, house in cloud.p.houses.items() if house.agent.me == _place(one).node))
    with memory.thread_of("cc"):
        FlowRun.objects.filter(instance=one).update(deadline=clock.now() + 5)
    cloud.p.pass_time(200)
    assert cloud.state(one) == "stopped"
    assert not _open(one)
    assert "machine/tell" not in asked


def test_the_cloud_believes_no_older_cluster_that_a_place_is_free(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    cloud.do("start", one)
    Instance.objects.filter(pk=one).update(fence=2)
    before = Instance.objects.get(pk=one)
    cluster = cloud.p.houses["cc"].agent
    cluster.report(PlacementFacts(instance=one, task=before.task, node="", fence=before.fence - 1))
    cloud.p.settle()
    after = Instance.objects.get(pk=one)
    assert (after.state, after.node, after.nics) == ("running", before.node, before.nics)
    cluster.report(PlacementFacts(instance=one, task=before.task, node="", fence=before.fence))
    cloud.p.settle()
    assert Instance.objects.get(pk=one).node == ""
