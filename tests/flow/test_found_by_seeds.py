"""What the simulator found, each as short as it goes; the sentence of each test is its seed's story."""

import json

import pytest

from cc.services import children
from clc.services import deletes, hosts, images, instance_reports, instances, own, remains, tasks
from luhyaapi import ids
from luhyaapi.contracts.commands import InstanceStop
from luhyaapi.contracts.reports import InstanceFacts
from luhyaapi.errors import Failed, Refused
from luhyadb import memory, outbox
from luhyadb.models import Child, Host, ImageVersion, Instance, Placement
from tests.support.flow_world import KERNEL, opened

pytestmark = pytest.mark.walk


def _lose(cloud, kind):
    """Orders of that kind are lost from now on; the ones there were."""
    lost = []

    def fault(direction, _host, message):
        if direction == "down" and opened(message)["kind"] == kind:
            lost.append(message)
            return []
        return [message]

    cloud.tap(fault)
    return lost


def _child(cloud, name):
    with memory.of("cc"):
        return Child.objects.filter(pk=cloud.p.known[name][0].host).first()


def _heal(cloud):
    cloud.tap(lambda _d, _h, message: [message])
    cloud.p.pass_time(60)


@pytest.mark.parametrize("on", [True, False])
def test_an_order_to_drain_that_is_lost_is_said_again(cloud, on):
    host = cloud.p.known["nc2"][0].host
    if not on:
        cloud.drain_by_order("nc2")
    lost = _lose(cloud, "host/drain")
    hosts.drain(cloud.admin, host, on=on)
    cloud.p.settle()
    assert len(lost) == 1
    assert _child(cloud, "nc2").draining is not on
    _heal(cloud)
    assert _child(cloud, "nc2").draining is on


def test_a_removed_node_whose_cluster_did_not_hear_of_it_is_forgotten_later(cloud):
    lost = _lose(cloud, "host/remove")
    hosts.remove(cloud.admin, cloud.p.known["nc2"][0].host)
    cloud.p.settle()
    assert lost
    assert _child(cloud, "nc2")
    cloud.p.stop("nc2")
    _heal(cloud)
    assert _child(cloud, "nc2") is None


def test_a_cluster_that_lost_an_admission_hears_it_again(cloud):
    with memory.of("clc"), memory.atomic():
        token, _ = hosts.make_token(cloud.admin, "nc")
    boss = cloud.p.houses["cc"]
    lost = _lose(cloud, "host/admit")
    request = cloud.p.knock("nc3", boss, token)
    cloud.p.settle()
    assert lost
    assert not cloud.p.let_in("nc3", boss, request)
    _heal(cloud)
    assert cloud.p.let_in("nc3", boss, request)


def test_an_admission_said_again_changes_nothing_for_who_fetched_the_first(cloud):
    """On a slow machine the CLC asks again between a node's joining and its first hello."""
    with memory.of("clc"), memory.atomic():
        token, _ = hosts.make_token(cloud.admin, "nc")
    boss = cloud.p.houses["cc"]
    request = cloud.p.knock("nc3", boss, token)
    cloud.p.settle()
    with memory.of("cc"):
        first = children.answer(boss.agent.services, request)
    assert first["broker"].count(":") == 2
    with memory.of("clc"), memory.atomic():
        host = Host.objects.get(request=request)
        outbox.send(hosts._admission(host), host.boss, sender=own.own().id, task=ids.new("tsk"))
    cloud.p.settle()
    with memory.of("cc"):
        assert children.answer(boss.agent.services, request) == first


def test_draining_outlives_silence(cloud):
    cloud.drain_by_order("nc2")
    host = cloud.p.known["nc2"][0].host
    cloud.p.stop("nc2")
    cloud.p.pass_time(60)
    assert Host.objects.get(pk=host).state == "silent"
    cloud.p.restart("nc2")
    cloud.p.pass_time(30)
    assert Host.objects.get(pk=host).state == "draining"
    assert _child(cloud, "nc2").draining


def test_a_delete_that_failed_half_way_is_no_start_and_is_tried_again(cloud):
    one = cloud.do()
    node = cloud.node(one)
    network = cloud.p.houses[node].agent.services.domains._hands.network
    network.faults.always["unplug"] = "network"
    _, task = cloud.ask("delete", one)
    cloud.p.settle()
    cloud.p.pass_time(60)
    assert cloud.task(task)[0] == "failed"
    network.faults.always.clear()
    cloud.p.houses[node].agent.services.domains.reconcile(set())
    cloud.p.settle()
    with memory.of("cc"):
        assert Placement.objects.get(pk=one).wanted == "stopped"
    assert cloud.state(one) == "stopped"
    with pytest.raises(Refused, match="being deleted"):
        instances.start(cloud.user, one)
    cloud.p.pass_time(150)
    assert cloud.state(one) == "deleted"
    cloud.rest()


def test_a_delete_that_fails_once_is_tried_again_by_its_node(cloud):
    one = cloud.do()
    cloud.p.houses[cloud.node(one)].agent.services.domains._hands.network.faults.fail_next("unplug", "network")
    _, task = cloud.ask("delete", one)
    cloud.p.settle()
    cloud.p.pass_time(10)
    assert cloud.task(task)[0] == "done"
    cloud.rest()


def test_a_cancel_that_comes_when_all_is_wiped_comes_too_late(cloud):
    one = cloud.do()
    _, task = cloud.ask("delete", one)
    cloud.tap(lambda d, _h, m: [] if d == "up" and opened(m)["subject"] == f"{task}#wipe.0" else [m])
    cloud.p.settle()
    tasks.cancel(cloud.user, task)
    cloud.p.settle()
    _heal(cloud)
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "deleted"
    cloud.rest()


def test_clocks_set_back_hold_nothing_up(cloud):
    """An hour ahead, everybody works; then time is right again."""
    cloud.clock.sleep(3600)
    one, task = cloud.ask()
    cloud.p.wire.cut()
    cloud.p.step()
    cloud.clock.sleep(-3600)
    cloud.clock._now -= 3600
    cloud.p.wire.heal()
    cloud.p.pass_time(120)
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "running"


def test_a_lost_task_whose_order_never_arrived_ends_when_the_cluster_is_back(cloud):
    """Its instance does not stay on its way for ever."""
    cloud.p.stop("cc")
    one, task = cloud.ask()
    cloud.p.settle()
    cloud.long(2000)
    assert cloud.task(task)[0] == "lost"
    cloud.p.restart("cc")
    cloud.p.pass_time(90)
    assert cloud.task(task) == ("failed", "timeout")
    assert cloud.state(one) == "failed"
    cloud.do("delete", one)
    cloud.rest()


def test_an_order_that_was_overtaken_by_a_delete_is_refused(cloud):
    """Also when the cancel that goes before the delete got lost."""
    late = []

    def hold(direction, host, message):
        kind = opened(message)["kind"]
        if kind == "instance/run":
            late.append((direction, host, message))
        return [] if kind in ("instance/run", "task/cancel") else [message]

    cloud.tap(hold)
    one, task = cloud.ask()
    cloud.p.settle()
    _, delete = cloud.ask("delete", one)
    cloud.p.settle()
    assert cloud.task(delete) == ("done", None)
    cloud.p.wire.inject(*late[0])
    cloud.p.settle()
    assert cloud.domains() == {}
    _heal(cloud)
    assert cloud.task(task)[0] in ("failed", "cancelled")
    cloud.rest()


@pytest.mark.parametrize("verb", ["delete", "stop", "reboot"])
def test_a_cancelled_order_that_never_began_leaves_a_running_guest_running(cloud, verb):
    one = cloud.do()
    held = []
    cloud.tap(lambda d, h, m: held.append((d, h, m)) or [] if opened(m)["kind"] == f"instance/{verb}" else [m])
    _, task = cloud.ask(verb, one)
    cloud.p.settle()
    tasks.cancel(cloud.user, task)
    cloud.p.settle()
    cloud.p.wire.inject(*held[0])
    _heal(cloud)
    assert cloud.task(task) == ("cancelled", "cancelled")
    assert cloud.state(one) == "running"
    cloud.rest()


def test_what_a_delete_has_wiped_is_deleted_whatever_becomes_of_a_second_one(cloud):
    one = cloud.do()
    held = []
    _, first = cloud.ask("delete", one)
    cloud.tap(lambda d, h, m: held.append((d, h, m)) or [] if opened(m)["subject"] == f"{first}#wipe.0" else [m])
    cloud.p.settle()
    _, second = cloud.ask("delete", one)
    cloud.p.settle()
    cloud.p.wire.inject(*held[0])
    cloud.p.settle()
    tasks.cancel(cloud.user, second)
    cloud.p.settle()
    _heal(cloud)
    assert cloud.task(first) == ("done", None)
    assert cloud.state(one) == "deleted"
    cloud.until_rest()
    cloud.rest()


def test_a_question_that_got_lost_is_asked_again(cloud):
    """A host was heard again after its silence, and the one question what became of its instances did not arrive."""
    one = cloud.do()
    cloud.clock.sleep(100)
    cloud.p.act("clc", "beat")
    assert cloud.state(one) == "unknown"
    lost = _lose(cloud, "host/refresh")
    cloud.p.pass_time(30)
    assert lost
    assert cloud.state(one) == "unknown"
    _heal(cloud)
    assert cloud.state(one) == "running"


def test_an_order_its_node_never_heard_of_leaves_the_guest_running(cloud):
    """Nobody knows before the node was asked, and asked again."""
    one = cloud.do()
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] in ("domain/stop", "host/refresh") else [m])
    _, task = cloud.ask("stop", one)
    cloud.long(1000)
    assert cloud.task(task) == ("failed", "timeout")
    assert cloud.state(one) == "failed"
    _heal(cloud)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_second_start_of_what_runs_by_now_does_not_ask_for_its_room_again(cloud):
    """Its node was drained between the two: that moves nobody who is there."""
    one, first = cloud.ask()
    held = []
    cloud.tap(lambda d, h, m: held.append((d, h, m)) or [] if opened(m)["subject"] in (one, f"{first}#boot.0") and d == "up" else [m])
    cloud.p.settle()
    assert cloud.state(one) == "starting"
    _, second = cloud.ask("start", one)
    cloud.drain_by_order(cloud.node(one))
    cloud.tap(lambda _d, _h, m: [m])
    for message in held:
        cloud.p.wire.inject(*message)
    _heal(cloud)
    assert cloud.task(first) == cloud.task(second) == ("done", None)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_stop_while_a_second_start_waits_stops_the_first(cloud, queue_set):
    """Nobody was told of the second; of the first its node was."""
    held = []
    cloud.tap(lambda d, h, m: held.append((d, h, m)) or [] if opened(m)["kind"] == "domain/start" else [m])
    one, _ = cloud.ask()
    cloud.p.settle()
    assert cloud.state(one) == "starting"
    queue_set(per_node=0)
    _, second = cloud.ask("start", one)
    _, stop = cloud.ask("stop", one)
    cloud.tap(lambda _d, _h, m: [m])
    for each in held:
        cloud.inject(*each)
    _heal(cloud)
    assert cloud.task(second)[0] == "cancelled"
    assert cloud.task(stop)[0] == "done"
    assert cloud.state(one) == "stopped"
    cloud.rest()


def test_a_delete_is_done_when_all_is_wiped_though_dhcp_says_no(cloud):
    """Else a machine that is gone could be started again, with an empty disk."""
    one = cloud.do()
    edge = cloud.role("cc").edge
    edge.trouble = Failed("network", "The bridge said no", "a fault was asked for")
    cloud.do("delete", one)
    assert cloud.state(one) == "deleted"
    edge.trouble = None
    cloud.p.pass_time(30)
    cloud.rest()


def test_a_start_that_comes_to_nothing_while_the_first_run_ends_well_fails_no_guest_that_runs(cloud):
    held = []
    cloud.tap(lambda d, h, m: held.append((d, h, m)) or [] if opened(m)["kind"] == "domain/start" else [m])
    one, run = cloud.ask()
    cloud.p.settle()
    assert cloud.state(one) == "starting"
    _, again = cloud.ask("start", one)
    edge = cloud.role("cc").edge
    edge.trouble = Failed("network", "The bridge said no", "a fault was asked for")
    cloud.tap(lambda _d, _h, m: [m])
    for each in held:
        cloud.inject(*each)
    cloud.p.settle()
    cloud.p.pass_time(20)
    edge.trouble = None
    cloud.p.pass_time(20)
    assert (cloud.task(run)[0], cloud.task(again)[0]) == ("done", "failed")
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_place_that_was_taken_back_is_known_though_the_news_of_it_got_lost(cloud):
    """Else its owner sees an instance of unknown state on a node that has nothing of it, for ever."""
    lost = []

    def weather(_direction, _host, message):
        envelope = opened(message)
        if envelope["kind"] == "placement/facts" and not json.loads(envelope["body"])["node"]:
            lost.append(message)
            return []
        return [] if envelope["kind"] == "domain/start" else [message]

    cloud.tap(weather)
    one, task = cloud.ask()
    cloud.p.settle()
    tasks.cancel(cloud.user, task)
    cloud.long(350)
    assert lost
    assert cloud.task(task)[0] == "cancelled"
    assert cloud.state(one) == "deleted"
    cloud.tap(lambda _d, _h, m: [m])
    _heal(cloud)
    cloud.rest()


@pytest.mark.parametrize(("late", "step"), [("cc", ""), ("nc1", "#boot")])
def test_a_guest_that_ends_before_the_news_of_its_start_is_known_to_have_ended(cloud, late, step):
    """Also to its cluster, which would keep its memory for it."""
    cloud.drain_by_order("nc2")
    held = []

    def weather(direction, host, message):
        envelope = opened(message)
        if (direction, envelope["kind"], host) == ("up", "outcome", cloud.p.known[late][0].host) and step in envelope["subject"]:
            held.append((direction, host, message))
            return []
        return [] if late == "cc" and envelope["kind"] == "instance/facts" and json.loads(envelope["body"])["state"] == "running" else [message]

    cloud.tap(weather)
    one, task = cloud.ask()
    cloud.p.settle()
    node = cloud.node(one)
    cloud.role(node).domains._hands.hypervisor.end(one)
    cloud.p.act(node, "prove")
    cloud.p.settle()
    cloud.tap(lambda _d, _h, m: [m])
    for message in held:
        cloud.inject(*message)
    _heal(cloud)
    assert cloud.task(task) == ("done", None)
    assert cloud.state(one) == "stopped"
    with memory.of("cc"):
        assert Placement.objects.get(pk=one).wanted == "stopped"
    cloud.rest()


def test_news_of_a_guest_that_come_after_its_place_was_taken_back_are_too_late(cloud):
    late, held = [], []

    def weather(direction, host, message):
        envelope = opened(message)
        if envelope["kind"] == "instance/facts" and json.loads(envelope["body"])["state"] == "running" and host == cloud.role("cc").agent.me:
            late.append((direction, host, message))
            return []
        if envelope["kind"] == "outcome" and "#boot" in envelope["subject"] and not held:
            held.append((direction, host, message))
            return []
        return [message]

    cloud.tap(weather)
    one, run = cloud.ask()
    cloud.p.settle()
    tasks.cancel(cloud.user, run)
    _, stop = cloud.ask("stop", one)
    cloud.p.settle()
    cloud.inject(*held[0])
    cloud.long(60)
    assert (cloud.task(run)[0], cloud.task(stop)[0]) == ("cancelled", "done")
    cloud.tap(lambda _d, _h, m: [m])
    cloud.inject(*late[0])
    cloud.p.settle()
    assert (cloud.state(one), Instance.objects.get(pk=one).node) == ("stopped", "")
    _heal(cloud)
    cloud.rest()


def test_a_delete_that_has_begun_is_not_cancelled(cloud):
    one = cloud.do()
    node = cloud.node(one)
    cloud.p.houses[node].agent.services.domains._hands.network.faults.fail_next("unplug", "network")
    _, task = cloud.ask("delete", one)
    for _ in range(3):
        cloud.p.step()
    tasks.cancel(cloud.user, task)
    cloud.p.settle()
    cloud.crash(node)
    _heal(cloud)
    assert (cloud.task(task), cloud.state(one)) == (("done", None), "deleted")
    cloud.rest()


def test_news_of_the_same_order_that_come_after_its_place_was_taken_back_are_too_late(cloud):
    one, task = cloud.ask("run")
    held = []
    cloud.tap(lambda d, h, m: held.append((d, h, m)) or [] if opened(m)["kind"] in ("instance/facts", "outcome") and opened(m)["subject"] in (
        one, f"{task}#boot.0") else [m])
    cloud.p.settle()
    tasks.cancel(cloud.user, task)
    cloud.p.settle()
    _heal(cloud)
    cloud.until_rest()
    before = cloud.state(one)
    for each in held:
        cloud.p.wire.inject(*each)
    cloud.p.settle()
    assert cloud.state(one) == before != "running"
    cloud.rest()


def test_the_outcome_tells_where_an_instance_is_when_the_news_of_its_place_were_lost(cloud):
    """The place of a run that came to nothing is kept while something may be left there."""
    cloud.warm()
    cloud.drain_by_order("nc2")
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] in ("placement/facts", "instance/facts") else [m])
    faults = cloud.p.hypervisor("nc1").faults
    faults.always.update(start="hypervisor", remove="hypervisor")
    one, task = cloud.ask()
    cloud.p.settle()
    cloud.p.pass_time(200)
    assert cloud.task(task)[0] == "failed"
    row = Instance.objects.get(pk=one)
    assert row.node == cloud.p.known["nc1"][0].host
    assert row.nics
    faults.always.clear()
    _heal(cloud)
    cloud.do("delete", one)
    cloud.rest()


def test_the_end_of_a_run_tells_where_it_is_also_when_a_stop_was_asked_for_since_and_never_had_its_turn(cloud):
    """Else its guest runs for ever, and its owner sees an instance that failed and is nowhere."""
    cloud.warm()
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] in ("domain/start", "placement/facts") else [m])
    one, run = cloud.ask()
    cloud.p.settle()
    _, stop = cloud.ask("stop", one)
    cloud.p.pass_time(InstanceStop(instance=one).timeout_s + 20)
    assert (cloud.task(run)[0], cloud.task(stop)) == ("running", ("failed", "busy"))
    assert (cloud.state(one), Instance.objects.get(pk=one).node) == ("failed", "")
    cloud.tap(lambda _d, _h, m: [m])
    cloud.until_rest()
    assert cloud.task(run)[0] == "done"
    assert cloud.state(one) == "running"
    cloud.rest()


def test_a_place_that_was_taken_back_ends_what_its_node_called_starting(cloud):
    """Its delete was cancelled, its run was being taken back, and its node came back from a power cut in between."""
    cloud.warm()
    cloud.drain_by_order("nc2")
    node = cloud.p.known["nc1"][0].host
    cloud.tap(lambda _d, _h, m: [] if opened(m)["to"] == node else [m])
    one, run = cloud.ask()
    cloud.p.settle()
    _, delete = cloud.ask("delete", one)
    cloud.p.settle()
    tasks.cancel(cloud.user, delete)
    cloud.p.settle()
    cloud.p.pass_time(200)
    assert cloud.task(delete)[0] == "cancelled"
    instance_reports.found(InstanceFacts(instance=one, state="starting", node=node, gen=1))
    assert cloud.state(one) == "starting"
    _heal(cloud)
    cloud.until_rest()
    assert cloud.task(run)[0] == "cancelled"
    assert cloud.state(one) == "stopped"
    cloud.do("delete", one)
    cloud.rest()


def test_a_delete_that_cannot_be_given_again_holds_up_no_other(cloud):
    stays, goes = cloud.do(), cloud.do()
    Instance.objects.update(wanted="deleted", changed_at=1)
    Instance.objects.filter(pk=stays).update(cluster="cc-00000000")
    assert deletes.again() == 1
    cloud.until_rest()
    assert (cloud.state(stays), cloud.state(goes)) == ("running", "deleted")


def test_a_cancelled_run_that_could_not_be_taken_back_and_of_which_nothing_is_there_is_stopped(cloud):
    """Its node had refused to take back what was never begun, and then knew nothing to tell of it."""
    cloud.warm()
    cloud.drain_by_order("nc2")
    lost = _lose(cloud, "domain/start")
    one, task = cloud.ask()
    cloud.p.settle()
    assert lost
    faults = cloud.p.hypervisor("nc1").faults
    faults.always["remove"] = "hypervisor"
    tasks.cancel(cloud.user, task)
    cloud.p.settle()
    cloud.p.pass_time(200)
    assert cloud.task(task)[0] == "cancelled"
    faults.always.clear()
    _heal(cloud)
    assert cloud.state(one) == "stopped"
    cloud.do("delete", one)
    cloud.rest()


def test_an_order_to_forget_an_image_that_is_lost_is_given_again(cloud):
    """The store kept its files for ever."""
    cloud.upload("lab", KERNEL + bytes(100))
    cloud.p.settle()
    store = cloud.p.houses["walrus"].agent.services.store
    before = set(store.sha256s())
    lost = _lose(cloud, "image/delete")
    images.delete(cloud.admin, "lab")
    cloud.p.settle()
    assert lost
    assert set(store.sha256s()) == before
    _heal(cloud)
    cloud.p.pass_time(60)
    assert len(before - set(store.sha256s())) == 1
    cloud.rest()


def test_what_a_published_version_needs_is_not_forgotten_again(cloud):
    (mine,) = cloud.p.houses["walrus"].agent.services.store.sha256s()[:1]
    version = ImageVersion.objects.filter(state="published").first()
    ImageVersion.objects.create(image=version.image, version=99, state="retired", blobs=version.blobs, created_at=0)
    assert remains.forget_again(Host.objects.get(role="walrus").pk, {mine}) == 0
    ImageVersion.objects.filter(version=99).delete()
    cloud.rest()


def test_nothing_is_forgotten_again_while_a_version_is_being_made(cloud):
    version = ImageVersion.objects.filter(state="published").first()
    blob = version.blobs[0] | {"sha256": "a" * 64}
    ImageVersion.objects.create(image=version.image, version=98, state="retired", blobs=[blob], created_at=0)
    made = ImageVersion.objects.create(image=version.image, version=99, state="building", created_at=0)
    store = Host.objects.get(role="walrus").pk
    assert remains.forget_again(store, {"a" * 64}) == 0
    made.delete()
    assert remains.forget_again(store, {"a" * 64}) == 1
    assert remains.forget_again(store, {"a" * 64}) == 0, "its order still waits"
    ImageVersion.objects.filter(version=98).delete()


def test_an_image_deleted_while_the_same_content_is_published_again_costs_no_byte(cloud):
    content = KERNEL + b"the same"
    cloud.upload("one", content)
    cloud.p.settle()
    cloud.upload("two", content)
    images.delete(cloud.admin, "one")
    cloud.p.settle()
    cloud.p.pass_time(120)
    (blob,) = ImageVersion.objects.get(image__name="two").blobs
    assert cloud.p.houses["walrus"].agent.services.store.has(blob["sha256"])
    images.delete(cloud.admin, "two")
    cloud.p.settle()
    assert not cloud.p.houses["walrus"].agent.services.store.has(blob["sha256"])
    cloud.rest()
