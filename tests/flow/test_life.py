"""The life of instances when nothing goes wrong."""

import pytest

from deploy.playground import Near
from luhyaapi.contracts.vocabulary import DomainState
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import AddressLease, Instance, PortLease, Task
from tests.support.flow_world import KERNEL, NODES, opened


def test_a_whole_life(cloud):
    one = cloud.do()
    assert cloud.state(one) == "running"
    for verb, state in (("stop", "stopped"), ("start", "running"), ("reboot", "running"), ("delete", "deleted")):
        cloud.do(verb, one)
        assert cloud.state(one) == state
        cloud.rest()
    assert cloud.domains() == {}


def test_the_steps_are_told_in_order(cloud):
    one = cloud.do()
    steps = Task.objects.get(subject=one).steps.order_by("id")
    assert [(s.name, s.state) for s in steps] == [
        (name, "done") for name in ("place", "fetch-cluster", "fetch-node", "address", "boot")
    ]
    row = Instance.objects.get(pk=one)
    assert row.nics[0]["ip"] == "10.231.0.2"
    assert row.display_port
    assert list(row.why) == [cloud.p.houses["nc2" if cloud.node(one) == "nc1" else "nc1"].agent.me]
    assert "fits, but" in next(iter(row.why.values()))


def test_bytes_move_once(cloud):
    cloud.do()
    moved = Near.moved_bytes
    first = {cloud.node(cloud.do()) for _ in range(2)}
    assert first == {"nc1", "nc2"}
    assert 0 < Near.moved_bytes - moved < len(KERNEL)
    moved = Near.moved_bytes
    cloud.do()
    assert Near.moved_bytes == moved


def test_five_at_once_are_spread_and_unique(cloud):
    from clc.services import instances

    rows = instances.run(cloud.user, instances.Ask("tiny", name="lab", count=5))
    cloud.p.settle()
    cloud.rest()
    made = Instance.objects.filter(pk__in=[r.pk for r in rows])
    assert {r.state for r in made} == {"running"}
    assert {r.name for r in made} == {f"lab-{n}" for n in range(1, 6)}
    assert sorted(len([r for r in made if r.node == n]) for n in {r.node for r in made}) == [2, 3]
    for unique in ({r.nics[0]["ip"] for r in made}, {r.nics[0]["mac"] for r in made}, {r.display_port for r in made}):
        assert len(unique) == 5


def test_deleting_leaves_nothing_and_addresses_rest(cloud):
    one = cloud.do()
    ip, port = Instance.objects.get(pk=one).nics[0]["ip"], Instance.objects.get(pk=one).display_port
    cloud.do("delete", one)
    with memory.of("cc"):
        assert not AddressLease.objects.exclude(instance="").exists()
        assert not PortLease.objects.exclude(instance="").exists()
    two = Instance.objects.get(pk=cloud.do())
    assert (two.nics[0]["ip"], two.display_port) != (ip, port)
    assert two.nics[0]["ip"] != ip
    cloud.p.pass_time(61)
    three = Instance.objects.get(pk=cloud.do())
    assert three.nics[0]["ip"] == ip
    assert three.display_port == port
    cloud.rest()


def test_a_deleted_name_is_free(cloud):
    one = cloud.do(name="web")
    with pytest.raises(Refused, match="web"):
        cloud.ask(name="web")
    cloud.do("delete", one)
    cloud.do(name="web")


def test_an_image_in_use_is_not_deleted(cloud):
    from clc.services import images

    one = cloud.do()
    with pytest.raises(Refused, match="in use"):
        images.delete(cloud.admin, "tiny")
    cloud.do("delete", one)
    images.delete(cloud.admin, "tiny")
    cloud.p.settle()
    cloud.rest()
    for name in ("walrus", "cc", *("nc1", "nc2")):
        services = cloud.role(name)
        assert (services.store if name == "walrus" else services.cache).sha256s() == []


def test_the_guest_keeps_running_when_every_role_restarts(cloud):
    one = cloud.do()
    for name in list(cloud.p.houses):
        cloud.crash(name)
    cloud.p.pass_time(30)
    assert cloud.state(one) == "running"
    assert cloud.domains()[one][0][1] is DomainState.RUNNING
    cloud.rest()


def _orders(cloud, seen):
    cloud.tap(lambda direction, _host, message: seen.append(opened(message)["kind"]) or [message] if direction == "down" else [message])


def test_a_node_that_has_the_image_is_told_to_boot_and_nothing_else(cloud):
    cloud.warm()
    seen = []
    _orders(cloud, seen)
    one, task = cloud.ask()
    cloud.p.settle()
    assert cloud.task(task) == ("done", None)
    assert seen == ["instance/run", "domain/start"]
    steps = {s.name: s.state for s in Task.objects.get(pk=task).steps.all()}
    assert steps == dict.fromkeys(("place", "fetch-cluster", "fetch-node", "address", "boot"), "done")
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_node_that_dropped_the_image_since_it_said_so_gets_it_again(cloud):
    cloud.warm()
    for name in NODES:
        cache = cloud.role(name).cache
        for sha256 in cache.sha256s():
            cache.remove(sha256)
    seen = []
    _orders(cloud, seen)
    one, task = cloud.ask()
    cloud.p.settle()
    assert cloud.task(task) == ("done", None)
    assert seen == ["instance/run", "domain/start", "image/fetch", "domain/start"]
    assert cloud.state(one) == "running"
    cloud.rest()


def test_an_image_that_is_nowhere_any_more_is_missed_once_and_said(cloud):
    cloud.warm()
    for name in (*NODES, "cc", "walrus"):
        store = cloud.role(name).store if name == "walrus" else cloud.role(name).cache
        for sha256 in store.sha256s():
            if name != "walrus":
                store.path(sha256).unlink()
            else:
                store.remove(sha256)
    _, task = cloud.ask()
    cloud.p.settle()
    cloud.p.pass_time(10)
    assert cloud.task(task) == ("failed", "not_found")
