"""What fails, is told with its reason; what goes away, comes back; nothing is left over."""

import pytest

from clc.services import hosts, images
from luhyaapi.contracts.vocabulary import DomainState
from luhyaapi.errors import Failed, Unavailable
from luhyadb import memory
from luhyadb.models import Child, Event, Host, Image, Instance, Placement, Task
from tests.support.flow_world import NODES

pytestmark = pytest.mark.walk


def _places(cloud):
    with memory.of("cc"):
        return set(Placement.objects.values_list("pk", flat=True))


def _failed(cloud, task, code):
    row = Task.objects.get(pk=task)
    assert row.state == "failed"
    assert row.error["code"] == code
    assert row.error["what"]
    assert row.error["hint"]
    return row.error


# ---- the hypervisor


@pytest.mark.parametrize("verb", ["define", "start"])
def test_the_hypervisor_says_no(cloud, verb):
    for name in NODES:
        cloud.p.hypervisor(name).faults.fail_next(verb, "hypervisor")
    one, task = cloud.ask()
    cloud.until_rest()
    error = _failed(cloud, task, "hypervisor")
    row = Instance.objects.get(pk=one)
    assert row.state == "failed"
    assert row.error == error
    assert _places(cloud) == set()
    assert cloud.domains() == {}
    cloud.rest()
    for name in NODES:
        cloud.p.hypervisor(name).faults._once.clear()
    cloud.do("start", one)
    assert cloud.state(one) == "running"
    cloud.do("delete", one)
    cloud.rest()


def test_a_failed_instance_can_be_deleted(cloud):
    for name in NODES:
        cloud.p.hypervisor(name).faults.fail_next("start", "hypervisor")
    one, _ = cloud.ask()
    cloud.until_rest()
    assert cloud.state(one) == "failed"
    cloud.do("delete", one)
    assert cloud.state(one) == "deleted"
    cloud.rest()


def test_a_stopped_instance_that_cannot_start_keeps_its_place(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    before = Instance.objects.get(pk=one)
    cloud.p.hypervisor(cloud.node(one)).faults.fail_next("start", "hypervisor")
    _, task = cloud.ask("start", one)
    cloud.until_rest()
    _failed(cloud, task, "hypervisor")
    assert _places(cloud) == {one}
    cloud.rest()
    cloud.do("start", one)
    after = Instance.objects.get(pk=one)
    assert (after.state, after.node, after.nics, after.error) == ("running", before.node, before.nics, None)
    cloud.rest()


def test_a_hypervisor_that_is_away_is_waited_for(cloud):
    one, task = cloud.ask()
    for name in NODES:
        cloud.p.hypervisor(name).faults.always["start"] = "hypervisor_down"
    cloud.p.settle()
    cloud.p.pass_time(30)
    assert cloud.task(task) == ("running", None)
    told = cloud.role("clc").board.read([f"task:{task}"])[f"task:{task}"]
    assert told["prompt"].startswith("start ins-")
    for name in NODES:
        cloud.p.hypervisor(name).faults.always.clear()
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_hypervisor_that_stays_away_is_told_and_given_up(cloud):
    one, task = cloud.ask()
    for name in NODES:
        cloud.p.hypervisor(name).faults.always["start"] = "hypervisor_down"
    cloud.long(1160)
    cloud.until_rest()
    assert "hypervisor_down" in _failed(cloud, task, "hypervisor_down")["code"]
    assert cloud.state(one) == "failed"
    cloud.rest()


def test_nothing_is_placed_where_the_hypervisor_does_not_answer(cloud):
    for verb in ("probe", "list"):
        cloud.p.hypervisor("nc1").faults.always[verb] = "hypervisor_down"
    cloud.p.pass_time(10)
    one = cloud.do()
    assert cloud.node(one) == "nc2"
    (why,) = Instance.objects.get(pk=one).why.values()
    assert "hypervisor does not answer" in why


# ---- guests


def test_a_guest_that_crashes_is_started_five_times_in_eight_hours(cloud):
    one = cloud.do()
    driver = cloud.p.hypervisor(cloud.node(one))
    for _ in range(5):
        driver.kill(one)
        cloud.p.settle()
        cloud.p.pass_time(10)
        assert cloud.state(one) == "running"
    driver.kill(one)
    cloud.p.settle()
    row = Instance.objects.get(pk=one)
    assert row.state == "failed"
    assert row.error["code"] == "guest"
    assert "5 times" in row.error["why"]
    cloud.rest()
    cloud.do("start", one)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_old_crashes_are_forgiven(cloud):
    one = cloud.do()
    driver = cloud.p.hypervisor(cloud.node(one))
    for _ in range(5):
        driver.kill(one)
        cloud.p.settle()
    cloud.clock.sleep(8 * 3600 + 1)
    cloud.p.pass_time(20)
    driver.kill(one)
    cloud.p.settle()
    assert cloud.state(one) == "running"


def test_a_guest_that_ends_by_itself_is_stopped(cloud):
    one = cloud.do()
    cloud.p.hypervisor(cloud.node(one)).stop(one, 5)
    cloud.p.settle()
    row = Instance.objects.get(pk=one)
    assert (row.state, row.wanted, row.error) == ("stopped", "stopped", None)
    cloud.p.pass_time(60)
    cloud.rest()
    cloud.do("start", one)
    cloud.rest()


def test_a_guest_that_ends_before_its_run_is_told(cloud):
    one, task = cloud.ask()
    while not cloud.domains().get(one):
        cloud.p.step()
    cloud.p.hypervisor(cloud.node(one)).stop(one, 5)
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "stopped"
    cloud.rest()


def test_guests_run_again_after_their_node_booted(cloud):
    one, two = cloud.do(), cloud.do()
    cloud.do("stop", two)
    name = cloud.node(one)
    driver = cloud.p.hypervisor(name)
    driver._become(one, DomainState.STOPPED)
    cloud.crash(name)
    cloud.p.pass_time(15)
    assert cloud.domains()[one] == [(name, DomainState.RUNNING)]
    assert (cloud.state(one), cloud.state(two)) == ("running", "stopped")
    cloud.rest()


def test_a_forgotten_domain_is_defined_again(cloud):
    one = cloud.do()
    name = cloud.node(one)
    cloud.p.hypervisor(name).remove(one)
    cloud.p.settle()
    cloud.p.pass_time(10)
    assert cloud.domains()[one] == [(name, DomainState.RUNNING)]
    assert cloud.state(one) == "running"
    cloud.rest()


def test_somebody_starts_a_stopped_guest_behind_our_back(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    cloud.p.hypervisor(cloud.node(one)).start(one)
    cloud.p.settle()
    cloud.p.pass_time(10)
    assert cloud.state(one) == "stopped"
    cloud.rest()


# ---- network and bytes


def test_dhcp_that_says_no(cloud):
    edge = cloud.role("cc").edge
    edge.trouble = Failed("network", "DHCP could not be set up", "no such bridge")
    one, task = cloud.ask()
    cloud.p.settle()
    edge.trouble = None
    cloud.until_rest()
    assert _failed(cloud, task, "network")["why"] == "no such bridge"
    assert cloud.state(one) == "failed"
    assert _places(cloud) == set()
    cloud.rest()


def test_dhcp_that_is_away_for_a_while(cloud):
    edge = cloud.role("cc").edge
    edge.trouble = Unavailable("busy", "DHCP does not answer")
    one, task = cloud.ask()
    cloud.p.settle()
    cloud.p.pass_time(20)
    assert cloud.task(task)[0] == "running"
    edge.trouble = None
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "running"
    cloud.rest()


def _blob(cloud):
    return Image.objects.get(name="tiny").versions.get().blobs[0]["sha256"]


def test_the_store_has_lost_the_image(cloud):
    cloud.role("walrus").store.remove(_blob(cloud))
    one, task = cloud.ask()
    cloud.until_rest()
    _failed(cloud, task, "not_found")
    assert cloud.state(one) == "failed"
    assert _places(cloud) == set()
    cloud.rest()


def test_the_store_gives_other_bytes(cloud):
    objects = cloud.role("walrus").store.objects
    (pack,) = objects.names("packs/")
    objects.put(pack, b"x" * objects.size(pack))
    _, task = cloud.ask()
    cloud.until_rest()
    _failed(cloud, task, "digest")
    assert cloud.role("cc").cache.sha256s() == []
    assert cloud.role("cc").cache.used() == 0
    cloud.rest()


def test_an_image_whose_digest_does_not_fit_is_refused(cloud):
    task = cloud.upload("bad", digest="0" * 64)
    cloud.until_rest()
    _failed(cloud, task.pk, "digest")
    assert not Image.objects.filter(name="bad", versions__state="published").exists()
    assert len(cloud.role("walrus").store.sha256s()) == 1


def test_a_fetched_image_stays_until_its_domain_starts(cloud):
    cloud.drain("nc2")
    _, task = cloud.ask()
    cache = cloud.role("nc1").cache
    while not cache.sha256s():
        cloud.p.step()
    assert cache.pins() == {_blob(cloud): {task}}
    cloud.p.settle()
    assert task not in str(cache.pins())


def test_what_a_run_fetched_in_vain_is_let_go(cloud):
    cache = cloud.role("nc1").cache
    cache.pin(_blob(cloud), "tsk-00000001")
    cloud.p.pass_time(20)
    assert cache.pins()
    cloud.clock.sleep(3600)
    cloud.p.beat()
    assert cache.pins() == {}


def test_deleting_an_image_passes_over_what_is_in_use(cloud):
    cloud.do("delete", cloud.do())
    pinned = [cloud.role(n).cache for n in NODES if cloud.role(n).cache.sha256s()]
    for cache in pinned:
        cache.pin(_blob(cloud), "ins-00000001")
    sha = _blob(cloud)
    images.delete(cloud.admin, "tiny")
    cloud.until_rest()
    assert [c.sha256s() for c in pinned] == [[sha]]
    assert cloud.role("cc").cache.sha256s() == []


# ---- room


@pytest.mark.usefixtures("impatient")
def test_no_node_has_room(cloud):
    most = 150 * 1024 * 1024 * 1024
    for _ in NODES:
        cloud.do(memory_bytes=most)
    _, task = cloud.ask(memory_bytes=most)
    cloud.until_rest()
    error = _failed(cloud, task, "no_capacity")
    for name in NODES:
        assert f"{cloud.p.houses[name].agent.me} not enough memory" in error["why"]
    cloud.rest()


@pytest.mark.usefixtures("impatient")
def test_memory_of_a_stopped_instance_is_not_promised_twice(cloud):
    most = 200 * 1024 * 1024 * 1024
    one = cloud.do(memory_bytes=most)
    cloud.do("stop", one)
    cloud.drain("nc2" if cloud.node(one) == "nc1" else "nc1")
    two = cloud.do(memory_bytes=most)
    assert cloud.node(two) == cloud.node(one)
    _, task = cloud.ask("start", one)
    cloud.until_rest()
    assert "not enough memory" in _failed(cloud, task, "no_capacity")["why"]
    cloud.rest()
    cloud.do("delete", two)
    cloud.do("start", one)
    assert cloud.state(one) == "running"
    cloud.rest()


# ---- silence


def _hush(cloud, name):
    """A host is gone: its house is empty, its queue waits."""
    house = cloud.p.houses.pop(name)
    house.agent.up.stop()
    return house


def _return(cloud, name, house):
    cloud.p.houses[name] = house
    return cloud.p.restart(name)


def test_a_silent_host_and_its_return(cloud):
    one, two = cloud.do(), cloud.do()
    name = cloud.node(one)
    house = _hush(cloud, name)
    cloud.p.pass_time(30)
    assert Host.objects.get(pk=house.agent.me).state == "silent"
    assert (cloud.state(one), cloud.state(two)) == ("unknown", "running")
    _return(cloud, name, house)
    cloud.p.pass_time(15)
    assert Host.objects.get(pk=house.agent.me).state == "up"
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_host_that_only_did_not_speak(cloud):
    """The process lived all the time, so it has nothing new to tell: it is asked."""
    one = cloud.do()
    name = cloud.node(one)
    house = cloud.p.houses.pop(name)
    cloud.p.pass_time(30)
    assert cloud.state(one) == "unknown"
    cloud.p.houses[name] = house
    cloud.p.pass_time(15)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_delete_on_a_silent_host_ends(cloud):
    one = cloud.do()
    name = cloud.node(one)
    house = _hush(cloud, name)
    cloud.p.pass_time(30)
    _, task = cloud.ask("delete", one)
    cloud.p.settle()
    cloud.long(1400)
    assert Host.objects.get(pk=house.agent.me).state == "silent"
    assert Event.objects.filter(subject=house.agent.me, what="host silent").count() == 1
    assert cloud.task(task)[0] == "failed"
    assert cloud.state(one) == "failed"
    assert Instance.objects.get(pk=one).error["code"] == "timeout"
    assert _places(cloud) == {one}, "its address is not lent to anybody else while it may still run"
    _return(cloud, name, house)
    cloud.until_rest()
    assert cloud.state(one) == "running"
    cloud.do("delete", one)
    cloud.rest()


def test_delete_goes_on_when_the_host_returns_in_time(cloud):
    one = cloud.do()
    name = cloud.node(one)
    house = _hush(cloud, name)
    cloud.p.pass_time(30)
    _, task = cloud.ask("delete", one)
    cloud.p.pass_time(120)
    _return(cloud, name, house)
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    cloud.rest()


def test_start_on_a_silent_host_says_so_at_once(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    name = cloud.node(one)
    house = _hush(cloud, name)
    cloud.p.pass_time(30)
    _, task = cloud.ask("start", one)
    cloud.until_rest()
    assert "is silent" in _failed(cloud, task, "host_silent")["why"]
    _return(cloud, name, house)
    cloud.until_rest()
    assert cloud.state(one) == "stopped"
    cloud.do("start", one)
    cloud.rest()


def test_a_host_that_dies_while_something_boots_there(cloud):
    cloud.drain("nc2")
    one, task = cloud.ask()
    while not cloud.role("nc1").cache.sha256s():
        cloud.p.step()
    house = _hush(cloud, "nc1")
    cloud.clock.sleep(1800)
    cloud.long(400)
    assert cloud.task(task)[0] == "failed"
    assert cloud.state(one) in {"failed", "unknown"}
    _return(cloud, "nc1", house)
    cloud.until_rest()
    cloud.rest(unknown=True)
    cloud.do("delete", one)
    cloud.rest()


def test_cancel_while_the_host_is_silent_ends_soon(cloud):
    from clc.services import tasks

    cloud.drain("nc2")
    _, task = cloud.ask()
    while not cloud.role("nc1").cache.sha256s():
        cloud.p.step()
    house = _hush(cloud, "nc1")
    cloud.p.pass_time(30)
    tasks.cancel(cloud.user, task)
    cloud.long(350)
    assert cloud.task(task)[0] == "cancelled"
    _return(cloud, "nc1", house)
    cloud.until_rest()
    cloud.rest()


# ---- the broker, the board


@pytest.mark.parametrize("cut_s", [20, 120])
def test_the_broker_goes_away_at_any_moment(cloud, cut_s):
    done = []
    for rounds in range(0 if cut_s < 60 else 1, 14, 2 if cut_s < 60 else 4):
        one, task = cloud.ask()
        for _ in range(rounds):
            cloud.p.step()
        cloud.wire.cut()
        cloud.p.pass_time(cut_s)
        assert not Host.objects.filter(state="silent").exists()
        cloud.wire.heal()
        cloud.until_rest()
        assert cloud.task(task) == ("done", None), rounds
        done.append(one)
    cloud.rest()
    assert {cloud.state(one) for one in done} == {"running"}


def test_the_board_is_emptied_all_the_time(cloud):
    board = cloud.role("clc").board
    one, task = cloud.ask()
    while cloud.p.step():
        board.clear()
    assert cloud.task(task) == ("done", None)
    cloud.p.beat()
    hosts_ = {f"host:{h.agent.me}" for h in cloud.p.houses.values()}
    assert set(board.read(sorted(hosts_))) == hosts_
    cloud.do("delete", one)
    cloud.rest()


def test_a_drained_host_keeps_what_it_has(cloud):
    one = cloud.do()
    me = Host.objects.get(name=cloud.node(one))
    hosts.drain(cloud.admin, me.pk, on=True)
    cloud.p.settle()
    with memory.of("cc"):
        assert Child.objects.get(pk=me.pk).draining
    assert {cloud.node(cloud.do()) for _ in range(3)} == {n for n in NODES if n != me.name}
    assert cloud.state(one) == "running"
    hosts.drain(cloud.admin, me.pk, on=False)
    cloud.p.settle()
    assert cloud.node(cloud.do()) == me.name
    cloud.rest()
