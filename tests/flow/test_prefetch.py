"""An image is brought to hosts before it is needed: crashes only delay it, who is away fails alone, what came is kept for a while."""

from __future__ import annotations

import json

import pytest

from cc.services import library
from cc.services import prefetches as cc_prefetches
from cc.services.rows import Rows
from clc.services import pictures, prefetches, tasks
from luhyaapi import clock
from luhyaapi.errors import Refused
from luhyaapi.wire.signing import make_ticket
from luhyadb import memory
from luhyadb.models import Child, Event, Host, Prefetch, Task, TaskOrder
from nc import door
from tests.support.flow_crashes import Fuse, fused, settle
from tests.support.flow_world import opened
from tests.support.walks import sampled

pytestmark = pytest.mark.walk


def _ask(cloud, *hosts, by=None):
    return prefetches.prefetch(cloud.admin, "tiny", hosts or ("all",), by).pk


def _steps(task):
    return {s["host"]: s["state"] for s in pictures.task(Task.objects.get(pk=task))["steps"]}


def _id(cloud, name):
    return cloud.p.known[name][0].host


def _has(cloud, name):
    return bool(cloud.role(name).cache.sha256s())


def _is_forgotten():
    with memory.of("cc"):
        return not Prefetch.objects.exists()


def test_it_is_brought_to_all(cloud):
    task = _ask(cloud)
    assert _steps(task) == dict.fromkeys([_id(cloud, n) for n in ("cc", "nc1", "nc2")], "waiting")
    cloud.p.settle()
    assert cloud.task(task) == ("done", None)
    assert set(_steps(task).values()) == {"done"}
    assert all(_has(cloud, name) for name in ("cc", "nc1", "nc2"))
    told = pictures.task(Task.objects.get(pk=task))
    assert (told["progress"], told["prompt"]) == (100, "")
    assert all(s["bytes_done"] == s["bytes_total"] > 0 for s in told["steps"])
    assert _is_forgotten()
    cloud.rest()


def test_what_the_cluster_still_has_to_fetch_is_known(cloud):
    """A node that asks for it meanwhile is told to come later, not that it is not there."""
    awaited = []
    own = library.fetch
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(library, "fetch", lambda job, order: (awaited.append(cc_prefetches.awaited(job.services)), own(job, order)))
        _ask(cloud)
        cloud.p.settle()
    assert awaited[0] == set(cloud.role("cc").cache.sha256s())
    with memory.of("cc"):
        assert cc_prefetches.awaited(cloud.role("cc")) == set()


def test_only_who_is_named_gets_it(cloud):
    assert cloud.task(task := _ask(cloud, "nc2"))[0] == "queued"
    cloud.p.settle()
    assert set(_steps(task)) == {_id(cloud, "cc"), _id(cloud, "nc2")}, "its cluster is on the way"
    assert (_has(cloud, "nc1"), _has(cloud, "nc2")) == (False, True)
    only = _ask(cloud, "cc")
    cloud.p.settle()
    assert (_steps(only), cloud.task(only)) == ({_id(cloud, "cc"): "done"}, ("done", None))


def test_it_is_kept_until_some_hours_after_its_time(cloud):
    task = _ask(cloud, by=clock.now() + 3600)
    cloud.p.settle()
    assert cloud.task(task)[0] == "done"
    caches = [cloud.role(name).cache for name in ("cc", "nc1", "nc2")]
    for cache in caches:
        (sha256,) = cache.sha256s()
        assert cache.pins()[sha256]
        cache._quota = 0
        cache.evict(1)
        assert cache.path(sha256)
    cloud.clock.sleep(3600 + prefetches.KEPT_S - 600)
    cloud.p.beat()
    assert all(cache.pins() for cache in caches)
    cloud.clock.sleep(1200)
    assert not any(cache.pins() for cache in caches)
    cloud.p.beat()
    for cache in caches:
        assert not list((cache.folder / "pins").iterdir())
        cache.evict(1)
        assert cache.sha256s() == []


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_killed_cluster_only_delays_it(cloud, steps):
    task = _ask(cloud)
    for _ in range(steps):
        cloud.p.step()
    cloud.crash("cc")
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert all(_has(cloud, name) for name in ("cc", "nc1", "nc2"))
    assert _is_forgotten()
    cloud.rest()


def test_what_the_database_has_forgotten_is_begun_anew(cloud):
    cloud.tap(lambda _direction, _host, message: [] if opened(message)["kind"] == "image/fetch" else [message])
    task = _ask(cloud)
    cloud.p.pass_time(5)
    with memory.thread_of("cc"):
        assert Prefetch.objects.exists()
        Prefetch.objects.all().delete()
    cloud.tap(lambda _direction, _host, message: [message])
    cloud.crash("cc")
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)


def test_who_is_away_fails_alone(cloud):
    cloud.p.stop("nc1")
    cloud.p.pass_time(30)
    task = _ask(cloud)
    cloud.p.settle()
    assert cloud.task(task) == ("failed", "host_silent")
    away, there = _id(cloud, "nc1"), _id(cloud, "nc2")
    assert (_steps(task)[away], _steps(task)[there]) == ("failed", "done")
    error = Task.objects.get(pk=task).error
    assert error["what"] == "The image is not on every host"
    assert error["why"] == f"{away} The node does not answer"
    assert _has(cloud, "nc2")


def test_who_is_away_is_waited_for_until_the_time(cloud):
    cloud.p.stop("nc1")
    cloud.p.pass_time(30)
    task = _ask(cloud, by=clock.now() + 600)
    cloud.p.pass_time(30)
    assert (cloud.task(task)[0], _steps(task)[_id(cloud, "nc1")]) == ("running", "waiting")
    cloud.p.restart("nc1")
    cloud.p.pass_time(30)
    assert cloud.task(task) == ("done", None)
    assert _has(cloud, "nc1")


@pytest.mark.parametrize("late", [False, True])
def test_the_end_of_a_task_ends_its_steps_though_the_news_of_them_is_lost_or_late(cloud, late):
    held = []

    def weather(direction, host, message):
        if opened(message)["kind"] == "task/steps":
            held.append((direction, host, message))
            return []
        return [message]

    cloud.tap(weather)
    task = _ask(cloud)
    cloud.p.settle()
    assert set(_steps(task).values()) == {"done"}
    cloud.tap(lambda _direction, _host, message: [message])
    assert held
    for one in held if late else ():
        cloud.p.wire.inject(*one)
    cloud.p.settle()
    assert cloud.task(task) == ("done", None)
    assert set(_steps(task).values()) == {"done"}


def test_who_goes_away_while_it_fetches_leaves_its_place_to_others(cloud):
    held = []
    cloud.tap(lambda direction, host, message: held.append(message) or [] if (direction, host) == ("down", _id(cloud, "nc1")) else [message])
    task = _ask(cloud, by=clock.now() + 600)
    cloud.p.settle()
    assert _steps(task)[_id(cloud, "nc1")] == "running"
    cloud.p.stop("nc1")
    cloud.p.pass_time(40)
    assert _steps(task)[_id(cloud, "nc1")] == "waiting"
    cloud.tap(lambda _direction, _host, message: [message])
    cloud.p.restart("nc1")
    cloud.p.pass_time(40)
    assert cloud.task(task) == ("done", None)


def test_the_time_that_passed_is_said_once_with_those_who_lack_it(cloud):
    cloud.tap(lambda direction, host, message: [] if (direction, host) == ("down", _id(cloud, "nc1")) else [message])
    task = _ask(cloud, by=clock.now() + 60)
    cloud.p.pass_time(30)
    assert pictures.task(Task.objects.get(pk=task))["prompt"] == ""
    cloud.p.pass_time(60)
    assert pictures.task(Task.objects.get(pk=task))["prompt"] == "the time passed; it is not yet on nc1"
    (event,) = Event.objects.filter(task=task, what__startswith="the time passed")
    assert event.fields == {"lacking": ["nc1"]}
    cloud.tap(lambda _direction, _host, message: [message])
    cloud.p.pass_time(120)
    assert cloud.task(task) == ("done", None)
    assert pictures.task(Task.objects.get(pk=task))["prompt"] == ""


def test_it_can_be_cancelled(cloud):
    held = []
    cloud.tap(lambda direction, host, message: held.append(message) or [] if (direction, host) == ("down", _id(cloud, "nc1")) else [message])
    task = _ask(cloud)
    cloud.p.settle()
    tasks.cancel(cloud.admin, task)
    cloud.p.settle()
    assert cloud.task(task)[0] == "cancelling"
    cloud.tap(lambda _direction, _host, message: [message])
    for message in reversed(held):
        cloud.inject("down", _id(cloud, "nc1"), message)
    cloud.until_rest(600)
    assert cloud.task(task) == ("cancelled", "cancelled")
    assert not _has(cloud, "nc1")
    assert cloud.role("nc1").cache.pins() == {}, "what did not come is not kept"
    assert _has(cloud, "nc2"), "what came stays"
    assert _is_forgotten()


def test_cancelled_with_a_node_that_never_answers_it_ends(cloud):
    cloud.tap(lambda direction, host, message: [] if (direction, host) == ("down", _id(cloud, "nc1")) else [message])
    task = _ask(cloud)
    cloud.p.settle()
    tasks.cancel(cloud.admin, task)
    cloud.p.pass_time(200)
    assert cloud.task(task) == ("cancelled", "cancelled")


def test_without_the_image_in_the_cluster_no_node_is_asked(cloud):
    cache = cloud.role("cc").cache
    cache._quota = 0
    task = _ask(cloud, by=clock.now() + 60)
    cloud.until_rest(900)
    assert cloud.task(task) == ("failed", "disk_full")
    assert set(_steps(task).values()) == {"failed"}
    assert cache.pins() == {}
    assert not _has(cloud, "nc1")


def test_a_removed_node_fails_alone(cloud):
    from cc.services import children

    task = _ask(cloud)
    with memory.of("cc"):
        children.remove(cloud.role("cc"), _id(cloud, "nc1"))
    cloud.p.settle()
    assert cloud.task(task) == ("failed", "not_found")
    assert _steps(task)[_id(cloud, "nc2")] == "done"


def test_past_its_deadline_it_ends(cloud):
    cloud.tap(lambda direction, host, message: [] if (direction, host) == ("down", _id(cloud, "nc1")) else [message])
    task = _ask(cloud)
    cloud.p.settle()
    cloud.clock.sleep(prefetches.LATE_S + 30)
    cloud.p.pass_time(30)
    assert cloud.task(task) == ("failed", "timeout")
    assert _steps(task)[_id(cloud, "nc2")] == "done"


def test_several_clusters_end_one_task(cloud):
    """The parts of a task that went to two clusters: the last one ends it."""
    from clc.services import tasks as service
    from luhyaapi.contracts.reports import Outcome
    from luhyaapi.contracts.specs import Fault

    task = _ask(cloud)
    first = TaskOrder.objects.get(task=task)
    TaskOrder.objects.create(command=f"{task}#cc-00000000.0", task_id=task, order=first.order, receiver="cc-00000000")
    cloud.p.settle()
    assert cloud.task(task)[0] == "running", "one cluster is done, the other is not"
    assert service.receivers(pk=task) == {_id(cloud, "cc"), "cc-00000000"}
    with memory.of("clc"), memory.atomic():
        assert service.ended(Outcome(command=first.command, task=task)) is None, "told again it counts once"
    fault = Fault(code="transfer", what="no", why="cut")
    with memory.of("clc"), memory.atomic():
        service.ended(Outcome(command=f"{task}#cc-00000000.0", task=task, error=fault))
    assert cloud.task(task) == ("failed", "transfer")


@pytest.mark.parametrize(("hosts", "by", "code"), [
    (("nobody",), None, "not_found"), ((), 0, "invalid"), (("walrus",), None, "not_found"), (("all",), 4 * 86400, "invalid"), (("all",), -60, "invalid"),
])
def test_what_cannot_be_is_refused(cloud, hosts, by, code):
    with pytest.raises(Refused) as refused:
        prefetches.prefetch(cloud.admin, "tiny", hosts, None if by is None else clock.now() + by)
    assert refused.value.code == code
    assert not Task.objects.filter(kind=prefetches.KIND).exists()


def test_only_administrators_may(cloud):
    with pytest.raises(Refused) as refused:
        prefetches.prefetch(cloud.user, "tiny", ("all",))
    assert refused.value.code == "forbidden"
    Host.objects.filter(role="walrus").update(state="silent")
    with pytest.raises(Exception, match="store does not answer"):
        prefetches.prefetch(cloud.admin, "tiny", ("all",))


@pytest.mark.parametrize("name", ["clc", "cc", "nc1"])
def test_each_point_of_a_prefetch(cloud, name):
    """A role dies at each point of it: it comes back, and the image is everywhere."""
    fuse = Fuse()
    with fused(cloud, name, fuse):
        _ask(cloud)
        settle(cloud, name)
    many = ("post progress", "post task/steps")
    points = sampled(n for n, point in enumerate(fuse.points) if point not in many or fuse.points.index(point) == n)
    deaths = 0
    for at in points:
        for each in ("cc", "nc1", "nc2"):
            _empty(cloud.role(each).cache)
        task, fuse = _ask(cloud), Fuse(at)
        with fused(cloud, name, fuse):
            deaths += settle(cloud, name)
        cloud.until_rest()
        assert cloud.task(task) == ("done", None), fuse.points[-1]
        assert all(_has(cloud, each) for each in ("cc", "nc1", "nc2"))
        assert _is_forgotten(), fuse.points[-1]
    cloud.rest()
    assert deaths >= 0.7 * len(points)


def _empty(cache):
    for sha256, owners in cache.pins().items():
        for owner in owners:
            (cache.folder / "pins" / sha256 / owner).unlink()
    for sha256 in cache.sha256s():
        cache.remove(sha256)


def _fetches(cloud):
    """The orders to fetch that nodes got, by name: whom they are told to ask first."""
    got = {}

    def note(direction, host, message):
        envelope = opened(message)
        if direction == "down" and envelope["kind"] == "image/fetch":
            name = next(n for n, (membership, _) in cloud.p.known.items() if membership.host == host)
            got[name] = [near["host"] for near in json.loads(envelope["body"])["neighbours"]]
        return [message]

    cloud.tap(note)
    return got


def test_nodes_take_from_each_other(cloud):
    got = _fetches(cloud)
    _ask(cloud)
    cloud.p.settle()
    first, second = got
    assert got == {first: [], second: [_id(cloud, first)]}, "the second takes from the first"


def test_a_node_is_told_who_has_it(cloud):
    _ask(cloud, "nc1")
    cloud.p.settle()
    cloud.role("cc").rows = Rows()
    cloud.p.pass_time(10)
    got = _fetches(cloud)
    _ask(cloud, "nc2")
    cloud.p.settle()
    assert got == {"nc2": [_id(cloud, "nc1")]}, "it said so in its heartbeat"


def test_who_is_silent_or_lives_elsewhere_is_no_neighbour(cloud):
    _ask(cloud, "nc1")
    cloud.p.pass_time(10)
    got = _fetches(cloud)
    with memory.of("cc"):
        Child.objects.filter(pk=_id(cloud, "nc1")).update(address="http://127.0.0.1:1")
    _ask(cloud, "nc2")
    cloud.p.settle()
    assert got.pop("nc2") == [], "the cloud speaks another way"
    with memory.of("cc"):
        Child.objects.filter(pk=_id(cloud, "nc1")).update(address="near://nc1")
    cloud.p.stop("nc1")
    cloud.p.pass_time(30)
    _ask(cloud, "nc2")
    cloud.p.settle()
    assert got == {"nc2": []}


def test_a_row_is_forgotten_with_time(cloud):
    rows, files = Rows(), frozenset(["a"])
    assert rows.before(files, "x") == []
    assert rows.before(files, "y") == ["x"]
    assert rows.before(files, "z") == ["y", "x"]
    assert rows.before(files, "y") == ["x"], "said again it stands where it stood"
    assert rows.before(frozenset(["b"]), "z") == []
    cloud.clock.sleep(3601)
    assert rows.before(files, "z") == []


@pytest.mark.parametrize(("claims", "good"), [
    ({}, True), ({"at": "nc-00000000"}, False), ({"get": ["b" * 64]}, False), ({"key": "nc2"}, False), ({"exp": -1}, False),
])
def test_a_node_gives_only_what_its_cluster_signed_for_it(cloud, claims, good):
    office = cloud.role("nc1")
    key = cloud.p.houses[claims.pop("key", "cc")].agent.key
    life_s = claims.pop("exp", 60)
    ticket = make_ticket(key, {"get": ["a" * 64], "at": office.agent.me} | claims, life_s)
    if good:
        door.authorize(office, ticket, "a" * 64, "get")
        return
    with pytest.raises(Refused):
        door.authorize(office, ticket, "a" * 64, "get")
