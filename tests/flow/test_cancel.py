"""Changing one's mind: cancel, delete and stop in the middle of something else."""

import pytest

from clc.services import tasks
from luhyaapi.contracts.reports import PlacementFacts
from luhyaapi.contracts.vocabulary import DomainState
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Child, Instance, Placement
from tests.support.flow_world import opened
from tests.support.walks import sampled

pytestmark = pytest.mark.walk


def _rounds(cloud):
    """How many rounds a run takes."""
    cloud.ask()
    rounds = 0
    while cloud.p.step():
        rounds += 1
    return rounds


def _begin(cloud, rounds, verb="run", ident=""):
    one, task = cloud.ask(verb, ident)
    for _ in range(rounds):
        cloud.p.step()
    return one, task


def test_cancel_after_each_round_of_run(cloud):
    rounds = _rounds(cloud)
    ends = []
    tried = sampled(range(rounds))
    for n in tried:
        cloud.cold()
        one, task = _begin(cloud, n)
        try:
            tasks.cancel(cloud.user, task)
        except Refused as e:
            assert e.code == "state"  # noqa: PT017 - early enough is not refused
        cloud.until_rest()
        end = cloud.task(task)[0]
        ends.append(end)
        assert cloud.state(one) == {"cancelled": "deleted", "done": "running"}[end], n
        with memory.of("cc"):
            assert Placement.objects.filter(pk=one).exists() == (end == "done"), n
        row = Instance.objects.get(pk=one)
        assert bool(row.nics) == bool(row.node) == (end == "done"), n
        cloud.rest()
    assert ends.count("cancelled") >= len(tried) // 2
    assert ends == sorted(ends), "once it is too late it stays too late"


def test_a_cancelled_first_run_leaves_no_instance_and_its_name_is_free(cloud):
    one, task = cloud.ask(name="homework")
    for _ in range(4):
        cloud.p.step()
    tasks.cancel(cloud.user, task)
    cloud.until_rest()
    assert (cloud.task(task)[0], cloud.state(one)) == ("cancelled", "deleted")
    assert Instance.objects.get(pk=one).wanted == "deleted"
    cloud.rest()
    cloud.do(name="homework")
    cloud.rest()


def test_a_cancelled_later_start_leaves_a_stopped_instance(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    _, task = _begin(cloud, 2, "start", one)
    tasks.cancel(cloud.user, task)
    cloud.until_rest()
    assert (cloud.task(task)[0], cloud.state(one)) == ("cancelled", "stopped")
    cloud.do("start", one)
    cloud.rest()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("again", ["start", "delete"])
def test_a_failed_first_run_stays_with_its_error_until_it_is_dealt_with(cloud, again):
    for name in ("nc1", "nc2"):
        cloud.drain(name)
    one, task = cloud.ask(name="homework")
    cloud.p.settle()
    cloud.long(900)
    assert (cloud.task(task), cloud.state(one)) == (("failed", "no_capacity"), "failed")
    row = Instance.objects.get(pk=one)
    assert (row.error["code"], row.node, row.nics, row.live_name) == ("no_capacity", "", [], "homework")
    cloud.rest()
    with memory.of("cc"):
        Child.objects.update(draining=False)
    cloud.do(again, one)
    row.refresh_from_db()
    assert (row.state, row.error) == ({"start": "running", "delete": "deleted"}[again], None)
    cloud.rest()


def test_a_cancelled_second_try_of_a_failed_run_stays(cloud):
    one, task = cloud.ask()
    Instance.objects.filter(pk=one).update(gen=2)
    tasks.cancel(cloud.user, task)
    cloud.until_rest()
    assert (cloud.task(task)[0], cloud.state(one)) == ("cancelled", "stopped")


def test_a_cancelled_first_run_goes_when_its_end_says_that_nothing_is_left_whenever_the_place_is_told(cloud):
    one, task = _begin(cloud, 4)
    held = []
    cloud.tap(lambda direction, host, message: held.append((direction, host, message)) or [] if _is_release(message) else [message])
    tasks.cancel(cloud.user, task)
    cloud.p.settle()
    assert cloud.task(task)[0] == "cancelled"
    assert cloud.state(one) == "deleted"
    cloud.tap(lambda _direction, _host, message: [message])
    assert held
    cloud.inject(*held[0])
    cloud.until_rest()
    assert cloud.state(one) == "deleted"
    cloud.rest()


def _is_release(message):
    envelope = opened(message)
    return envelope["kind"] == PlacementFacts.kind and not PlacementFacts.model_validate_json(envelope["body"]).node


def test_cancel_of_what_ended_is_refused(cloud):
    one, task = cloud.ask()
    cloud.p.settle()
    with pytest.raises(Refused, match="cannot cancel") as e:
        tasks.cancel(cloud.user, task)
    assert e.value.code == "state"
    assert cloud.state(one) == "running"


def test_a_lost_cancel_is_said_again(cloud):
    _, task = _begin(cloud, 3)
    cloud.wire.cut()
    tasks.cancel(cloud.user, task)
    cloud.p.pass_time(40)
    cloud.wire.heal()
    cloud.until_rest()
    assert cloud.task(task)[0] in {"cancelled", "done"}
    cloud.rest()


@pytest.mark.parametrize("verb", ["delete", "stop"])
def test_after_each_round_of_run(cloud, verb):
    for n in sampled(range(_rounds(cloud)), ["delete", "stop"].index(verb)):
        one, run = _begin(cloud, n)
        _, task = cloud.ask(verb, one)
        cloud.until_rest()
        assert cloud.task(task) == ("done", None), n
        assert cloud.task(run)[0] in ({"done", "cancelled"} if verb == "delete" else {"done"})
        assert cloud.state(one) == {"delete": "deleted", "stop": "stopped"}[verb], n
        cloud.rest()


def test_delete_twice(cloud):
    one = cloud.do()
    first = cloud.ask("delete", one)[1]
    second = cloud.ask("delete", one)[1]
    cloud.until_rest()
    assert (cloud.task(first), cloud.task(second)) == (("done", None), ("done", None))
    assert cloud.state(one) == "deleted"
    with pytest.raises(Refused, match="cannot delete"):
        cloud.ask("delete", one)
    cloud.rest()


def test_a_stop_that_is_cancelled_in_the_middle_stops_nothing_later(cloud):
    one = cloud.do()
    name = cloud.node(one)
    cloud.p.hypervisor(name).stubborn.add(one)
    _, task = cloud.ask("stop", one)
    agent = cloud.p.houses[name].agent
    cloud.clock.at(cloud.clock.now() + 3, lambda: agent.journal.bury(task))
    cloud.p.settle()
    cloud.until_rest()
    assert cloud.task(task)[0] == "cancelled"
    cloud.p.pass_time(60)
    assert cloud.domains()[one] == [(name, DomainState.RUNNING)]
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_role_that_stops_in_the_middle_of_a_stop_does_it_afterwards(cloud):
    one = cloud.do()
    name = cloud.node(one)
    cloud.p.hypervisor(name).stubborn.add(one)
    _, task = cloud.ask("stop", one)
    worker = cloud.p.houses[name].agent.worker
    cloud.clock.at(cloud.clock.now() + 3, worker.stop)
    cloud.p.step()
    cloud.p.step()
    cloud.p.step()
    cloud.crash(name)
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "stopped"
    cloud.rest()
