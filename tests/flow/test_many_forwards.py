"""A thousand ports of instances asked for at once: all are lent, in bounded time and few changes of the packet rules, or refused with the reason."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from cc.services import access, edge
from cc.services.shared import Shared
from clc.services import forwards
from luhyaapi.contracts.commands import AccessSet
from luhyaapi.contracts.specs import ForwardAsk
from luhyaapi.errors import Failed
from luhyadb import memory
from luhyadb.models import Event, Forward, ForwardLease, Placement

INSTANCES, EACH = 63, 16


@pytest.fixture
def lending(cloud):
    """``lending(count)``: a cluster with an address for its users, which lends so many ports."""
    def lend(count):
        network = cloud.role("cc").agent.settings.network
        cloud.set("cc", network=network.model_copy(update={"address": "192.0.2.1", "lent_count": count}))

    return lend


def _ask(cloud, instances):
    for port in range(1, EACH + 1):
        for one in instances:
            forwards.add(cloud.user, one, forwards.Ask(port))
    cloud.p.settle()


def test_a_thousand_are_lent_by_a_cluster(cloud, lending):
    lending(2000)
    office, one = cloud.role("cc"), cloud.do()
    with memory.of("cc"):
        place = Placement.objects.get(pk=one)
        nic = place.spec["nics"][0]
        Placement.objects.bulk_create(
            Placement(instance=f"ins-f{n:07x}", node=place.node, cpus=1, memory_mib=64,
                      spec=place.spec | {"nics": [nic | {"ip": f"10.231.0.{100 + n}", "mac": f"02:00:0a:e7:00:{100 + n:02x}"}]})
            for n in range(INSTANCES)
        )
        for n in range(INSTANCES):
            asked = tuple(ForwardAsk(id=f"fwd-{n:04x}{port:04x}", guest_port=port) for port in range(1, EACH + 1))
            access.hear(office, AccessSet(instance=f"ins-f{n:07x}", number=1, forwards=asked))
        edge.rule(office)
        lent = {(row.port, row.guest_port) for row in ForwardLease.objects.exclude(instance="")}
    there = office.edge.found().rules.forwards
    assert len(there) == INSTANCES * EACH > 1000
    assert {(each.port, each.to_port) for each in there} == lent
    assert len({each.port for each in there}) == len(there)


def test_what_is_asked_for_at_once_changes_the_rules_once_for_each_instance(cloud, lending):
    lending(2000)
    ones = [cloud.do() for _ in range(4)]
    before = cloud.role("cc").edge.applied
    _ask(cloud, ones)
    ports = list(Forward.objects.values_list("address", "port"))
    assert len(ports) == len(set(ports)) == 4 * EACH
    assert {address for address, _ in ports} == {"192.0.2.1"}
    assert cloud.role("cc").edge.applied - before <= 4


def test_too_many_for_the_pool_are_refused_with_the_reason_and_the_others_are_open(cloud, lending):
    lending(2 * EACH)
    ones = [cloud.do() for _ in range(3)]
    _ask(cloud, ones)
    shut = Forward.objects.filter(port=0)
    assert (Forward.objects.exclude(port=0).count(), shut.count()) == (2 * EACH, EACH)
    assert {(row.trouble["code"], row.trouble["what"]) for row in shut} == {("no_capacity", "No port of the cluster is free")}
    assert {row.trouble["hint"] for row in shut} == {"Close forwards that nobody needs, or have the cluster lend more ports."}
    late, gone = shut.first().instance_id, Forward.objects.exclude(port=0).first()
    forwards.delete(cloud.user, gone.instance_id, gone.pk)
    cloud.p.settle()
    for row in shut[1:]:
        forwards.delete(cloud.user, late, row.pk)
    cloud.p.settle()
    (left,) = Forward.objects.filter(instance=late)
    assert (left.port, left.trouble["hint"]) == (0, "The next is free in 60 s."), "what was closed rests first"
    for _ in range(14):
        cloud.p.pass_time(10)
    left.refresh_from_db()
    assert (left.port, left.trouble) == (gone.port, None)
    assert Event.objects.filter(subject=late, what="forward not open").count() == EACH, "told once, however often it was tried"


def test_a_plan_of_before_does_not_undo_what_was_made_since(cloud, lending):
    lending(2000)
    office, one = cloud.role("cc"), cloud.do()
    reading, go = threading.Event(), threading.Event()
    order = AccessSet(instance=one, number=1, forwards=(ForwardAsk(id="fwd-00000001", guest_port=22),))
    make = office.edge.apply

    def slowly(plan):
        reading.set()
        assert go.wait(10)
        make(plan)

    def of_the_cluster(work, *words):
        with memory.thread_of("cc"):
            work(*words)
        connections.close_all()

    office.edge.apply = slowly
    old = threading.Thread(target=of_the_cluster, args=(edge.apply, office))
    old.start()
    assert reading.wait(10)
    office.edge.apply = make
    with memory.of("cc"):
        access.hear(office, order)
    new = threading.Thread(target=of_the_cluster, args=(edge.rule, office))
    new.start()
    threading.Event().wait(0.1)
    go.set()
    for thread in (old, new):
        thread.join(10)
    assert [each.to_port for each in office.edge.found().rules.forwards] == [22]


def test_who_comes_while_it_is_done_has_it_done_once_more_for_all():
    shared, begun, go = Shared(), threading.Event(), threading.Event()
    runs: list[int] = []

    def work():
        runs.append(1)
        begun.set()
        assert go.wait(10)

    def fails():
        raise Failed("network", "no")

    first = threading.Thread(target=shared.do, args=(work,))
    first.start()
    assert begun.wait(10)
    rest = [threading.Thread(target=shared.do, args=(work,)) for _ in range(8)]
    for thread in rest:
        thread.start()
    while shared._asked < 9:
        threading.Event().wait(0.001)
    go.set()
    for thread in (first, *rest):
        thread.join(10)
    assert len(runs) == 2
    with pytest.raises(Failed):
        shared.do(fails)
    shared.do(work)
    assert len(runs) == 3, "what failed was not done"
