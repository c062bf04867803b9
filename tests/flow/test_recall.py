"""A cluster whose memory is older than its nodes: it asks them before it acts, and says nothing is done that is not."""

import pytest

from clc.services import instances
from luhyaapi.contracts.commands import DomainStart, DomainStop, InstanceRun, TaskCancel
from luhyaapi.contracts.reports import MachineFacts, Outcome, PlacesFacts
from luhyaapi.contracts.vocabulary import DomainState
from luhyadb import memory
from luhyadb.models import AddressLease, Child, FlowRun, Instance, Placement, PortLease
from tests.support.flow_world import NODES, opened

pytestmark = pytest.mark.walk


def _forget(cloud, *made):
    """The cluster's database is restored from before these were placed."""
    cloud.p.pass_time(40)
    with memory.thread_of("cc"):
        FlowRun.objects.filter(instance__in=made).delete()
        Placement.objects.filter(pk__in=made).delete()
        AddressLease.objects.filter(instance__in=made).delete()
        PortLease.objects.filter(instance__in=made).delete()
    cloud.crash("cc")


def _grow_old(cloud):
    """The cluster's process does not wait for its nodes any more before it places anything."""
    cloud.role("cc").since -= 3600


def _place(cloud, one):
    with memory.thread_of("cc"):
        return Placement.objects.filter(pk=one).first()


def _listing(message):
    return opened(message)["kind"] == PlacesFacts.kind


def _deaf_to_listings(cloud):
    cloud.tap(lambda _direction, _host, message: [] if _listing(message) else [message])


def _do(cloud, verb, one):
    """Ask, and let time go by until it is done."""
    _, task = cloud.ask(verb, one)
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)


def _seen(one):
    row = Instance.objects.get(pk=one)
    return row.node, row.nics, row.display_port


def test_what_is_deleted_is_gone_from_the_node_that_had_it(cloud):
    one = cloud.do()
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    _do(cloud, "delete", one)
    assert cloud.state(one) == "deleted"
    assert one not in cloud.domains()
    cloud.rest()


def test_what_is_stopped_does_not_run_on(cloud):
    one = cloud.do()
    before = _seen(one)
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    _do(cloud, "stop", one)
    assert cloud.state(one) == "stopped"
    assert cloud.p.hypervisor(cloud.node(one)).inspect(one).state is DomainState.STOPPED
    assert _seen(one) == before
    cloud.rest()


def test_what_is_started_again_has_its_own_disk_and_addresses_and_runs_nowhere_else(cloud):
    one = cloud.do()
    _do(cloud, "stop", one)
    before = _seen(one)
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    _do(cloud, "start", one)
    assert cloud.state(one) == "running"
    assert _seen(one) == before
    assert [name for name in NODES if cloud.p.hypervisor(name).inspect(one).state is DomainState.RUNNING] == [cloud.node(one)]
    cloud.rest()


def test_without_an_order_the_places_are_known_again_with_what_was_lent(cloud):
    made = dict.fromkeys(cloud.do() for _ in range(3))
    before = {one: _seen(one) for one in made}
    _forget(cloud, *made)
    cloud.p.pass_time(60)
    assert {one: _seen(one) for one in made} == before
    for one in made:
        place = _place(cloud, one)
        assert (place.node, place.wanted, place.found) == (before[one][0], "running", "running")
        with memory.thread_of("cc"):
            assert [lease.ip for lease in AddressLease.objects.filter(instance=one)] == [nic["ip"] for nic in before[one][1]]
            assert PortLease.objects.get(instance=one).port == before[one][2]
    cloud.rest()


def test_an_address_that_was_lent_to_somebody_else_meanwhile_is_exchanged(cloud):
    one = cloud.do()
    _do(cloud, "stop", one)
    ip = _seen(one)[1][0]["ip"]
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    _grow_old(cloud)
    other = cloud.do()
    assert _seen(other)[1][0]["ip"] == ip, "it was the lowest that is free"
    _do(cloud, "start", one)
    assert cloud.state(one) == cloud.state(other) == "running"
    assert _seen(one)[1][0]["ip"] != ip
    cloud.rest()


def test_what_was_deleted_since_the_copy_is_deleted_again(cloud):
    one = cloud.do()
    with memory.thread_of("cc"):
        place = Placement.objects.get(pk=one)
        lent = list(AddressLease.objects.filter(instance=one)), list(PortLease.objects.filter(instance=one))
    cloud.do("delete", one)
    cloud.p.pass_time(60)
    with memory.thread_of("cc"):
        Placement.objects.bulk_create([place])
        AddressLease.objects.filter(ip__in=[lease.ip for lease in lent[0]]).update(instance=one)
        PortLease.objects.filter(port__in=[lease.port for lease in lent[1]]).update(instance=one)
    cloud.crash("cc")
    cloud.p.pass_time(60)
    assert _place(cloud, one) is None
    with memory.thread_of("cc"):
        assert not AddressLease.objects.filter(instance=one).exists()
    cloud.rest()


def test_what_nobody_has_any_more_is_told_to_be_stopped(cloud):
    one = cloud.do()
    node = cloud.p.houses[cloud.node(one)]
    node.agent.services.domains.delete(one, 1, 1)
    _forget(cloud, one)
    cloud.p.pass_time(60)
    row = Instance.objects.get(pk=one)
    assert (row.state, row.node) == ("stopped", "")
    _do(cloud, "start", one)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_an_older_place_elsewhere_is_not_believed(cloud):
    one = cloud.do()
    real = cloud.p.houses[cloud.node(one)].agent.me
    with memory.thread_of("cc"):
        other = Child.objects.filter(role="nc").exclude(pk=real).first().pk
        Placement.objects.filter(pk=one).update(node=other, fence=0)
    _deaf_to_listings(cloud)
    _do(cloud, "delete", one)
    assert cloud.state(one) == "deleted"
    assert one not in cloud.domains()
    cloud.rest()


def test_a_node_that_is_silent_is_waited_for(cloud):
    one = cloud.do()
    name = cloud.node(one)
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    house = cloud.p.houses.pop(name)
    cloud.p.pass_time(60)
    instances.delete(cloud.user, one)
    cloud.p.pass_time(60)
    assert cloud.state(one) == "stopping"
    cloud.p.houses[name] = house
    cloud.until_rest()
    assert cloud.state(one) == "deleted"
    assert one not in cloud.domains()
    cloud.rest()


def test_a_guest_that_its_node_was_not_told_of_is_not_called_deleted(cloud):
    made = [cloud.do() for _ in range(3)]
    one = made[0]
    house = cloud.p.houses[cloud.node(one)]
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    (house.agent.services.domains.wanted.folder(one) / "wanted.json").unlink()
    instances.delete(cloud.user, one)
    cloud.p.pass_time(30)
    assert cloud.state(one) == "stopping"
    assert one in cloud.domains()
    cloud.p.pass_time(200)
    cloud.until_rest()
    assert cloud.state(one) == "deleted"
    assert one not in cloud.domains()
    cloud.rest()


def test_what_nobody_asked_for_is_not_believed(cloud):
    one = cloud.do()
    spec = cloud.p.houses[cloud.node(one)].agent.services.domains.machine(one)
    cloud.do("delete", one)
    liar = cloud.p.houses[NODES[0]].agent
    liar.report(MachineFacts.model_validate(spec.model_dump() | {"node": liar.me}))
    cloud.until_rest()
    assert _place(cloud, one) is None
    cloud.rest()


def test_what_nobody_knows_any_more_is_told_and_left_alone(cloud):
    one = cloud.do()
    _forget(cloud, one)
    Instance.objects.filter(pk=one).delete()
    cloud.p.pass_time(150)
    assert one in cloud.domains()
    me = cloud.p.houses["cc"].agent.me
    assert "1 without a place" in cloud.role("clc").board.read([f"host:{me}"])[f"host:{me}"]["health"]


def test_a_delete_of_what_was_just_taken_back_asks_nobody(cloud):
    kinds = []
    cloud.tap(lambda _direction, _host, message: kinds.append(opened(message)["kind"]) or [message])
    one, _ = cloud.ask()
    for _ in range(4):
        cloud.p.step()
    _do(cloud, "delete", one)
    assert cloud.state(one) == "deleted"
    assert "machine/tell" not in kinds
    cloud.rest()


def test_without_room_for_what_it_was_lent_only_its_own_order_waits(cloud):
    one = cloud.do()
    ip = _seen(one)[1][0]["ip"]
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    _grow_old(cloud)
    other = cloud.do()
    assert _seen(other)[1][0]["ip"] == ip
    house = cloud.p.houses["cc"].agent
    network = house.settings.network
    house.settings = house.settings.model_copy(update={"network": network.model_copy(update={"display_count": 1})})
    _, task = cloud.ask("stop", one)
    cloud.p.pass_time(40)
    assert cloud.task(task)[0] in ("queued", "running")
    assert "display port" in cloud.role("cc").recalls[one].hinders
    _do(cloud, "delete", other)
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert _seen(one)[1][0]["ip"] == ip
    house.settings = house.settings.model_copy(update={"network": network})
    cloud.rest()


def test_a_second_answer_is_not_believed(cloud):
    one = cloud.do()
    _deaf_to_listings(cloud)
    _forget(cloud, one)
    _do(cloud, "stop", one)
    place = _place(cloud, one)
    liar = cloud.p.houses[cloud.node(one)].agent
    said = liar.services.domains.machine(one)
    for lie in ({"fence": 10**6}, {"fence": 10**6, "instance": "ins-0000000b"}):
        liar.report(MachineFacts.model_validate(said.model_dump() | lie))
        cloud.p.settle()
    assert _place(cloud, "ins-0000000b") is None
    assert _place(cloud, one).fence == place.fence


def test_what_was_deleted_before_its_run_was_heard_is_not_run_by_a_cluster_that_forgot_the_delete(cloud):
    begun, deaf = [], [True]

    def hear(_direction, _host, message):
        said = opened(message)
        if said["kind"] == DomainStart.kind:
            begun.append(said["subject"])
        return [] if deaf[0] and said["kind"] in (InstanceRun.kind, TaskCancel.kind) else [message]

    cloud.tap(hear)
    one, run = cloud.ask()
    _do(cloud, "delete", one)
    assert cloud.task(run)[0] == "cancelling"
    _forget(cloud, one)
    deaf[0] = False
    cloud.until_rest()
    assert cloud.state(one) == "deleted"
    assert cloud.task(run) == ("failed", "timeout")
    assert begun == []


def test_what_ended_before_its_place_was_known_again_is_not_said_to_run(cloud):
    one, deaf = cloud.do(), [True]
    node = cloud.node(one)
    cloud.tap(lambda _direction, _host, message: [] if deaf and opened(message)["kind"] == MachineFacts.kind else [message])
    _forget(cloud, one)
    cloud.p.hypervisor(node).end(one)
    cloud.p.pass_time(40)
    assert cloud.state(one) == "running", "what has no place is passed over"
    deaf.clear()
    cloud.until_rest()
    cloud.p.pass_time(30)
    assert cloud.state(one) == "stopped"
    cloud.rest()


def test_a_node_that_joined_after_the_copy_is_let_in_again_while_an_order_to_it_is_open(cloud):
    one = cloud.do()
    node = cloud.p.houses[cloud.node(one)].agent.me
    deaf = [True]
    cloud.tap(lambda _direction, _host, message: [] if deaf and opened(message)["kind"] == DomainStop.kind else [message])
    _, task = cloud.ask("stop", one)
    _forget(cloud, one)
    with memory.thread_of("cc"):
        Child.objects.filter(pk=node).delete()
    deaf.clear()
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "stopped"
    cloud.rest()


def test_a_run_whose_flow_is_forgotten_is_not_run_elsewhere(cloud):
    cloud.warm()
    deaf = [True]
    cloud.tap(lambda _direction, _host, message: [] if deaf and opened(message)["kind"] == Outcome.kind else [message])
    one, task = cloud.ask()
    cloud.p.pass_time(5)
    first, node = cloud.node(one), cloud.p.houses[cloud.node(one)].agent.me
    assert [row.kind for row in cloud.p.houses["cc"].agent.journal.open_rows("pending")] == [InstanceRun.kind]
    with memory.thread_of("cc"):
        FlowRun.objects.filter(instance=one).delete()
        Placement.objects.filter(pk=one).delete()
        AddressLease.objects.filter(instance=one).delete()
        PortLease.objects.filter(instance=one).delete()
        # it joined after the copy was made: it is not asked which instances it has
        Child.objects.filter(pk=node).delete()
    deaf.clear()
    cloud.crash("cc")
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.domains()[one] == [(first, DomainState.RUNNING)]
    assert cloud.state(one) == "running"
    cloud.rest()
