"""Orders that come after newer ones: refused by the node; and a memory that is older than its nodes learns from them."""

import pytest

from clc.services import instances, plans
from luhyaapi.errors import Refused
from luhyadb.models import Instance
from tests.support.flow_world import opened

pytestmark = pytest.mark.walk


def test_a_start_that_comes_after_the_delete_leaves_nothing_behind(cloud):
    kept = []

    def keep(_direction, _host, message):
        if opened(message)["kind"] == "domain/start":
            kept.append((_direction, _host, message))
        return [message]

    cloud.tap(keep)
    one = cloud.do()
    cloud.do("stop", one)
    cloud.do("delete", one)
    # the node's journal is gone too, so that it cannot know the order itself
    node = cloud.p.houses[next(n for n in ("nc1", "nc2") if cloud.p.houses[n].agent.me == kept[0][1])]
    with node.agent.journal._write() as db:
        db.execute("delete from commands")
    cloud.inject(*kept[0])
    cloud.until_rest()
    assert one not in cloud.domains()
    cloud.rest()


def test_a_restored_memory_learns_the_generation_its_node_knows(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    cloud.do("start", one)
    newest = Instance.objects.get(pk=one).gen
    Instance.objects.filter(pk=one).update(gen=1)
    cloud.crash(cloud.node(one))
    cloud.until_rest()
    assert Instance.objects.get(pk=one).gen == newest
    instances.stop(cloud.user, one)
    cloud.until_rest()
    assert cloud.state(one) == "stopped"
    cloud.rest()


def test_an_order_that_got_lost_is_said_again_also_while_a_repair_fails(cloud, monkeypatch):
    lost = []

    def lose(_direction, _host, message):
        if opened(message)["kind"] == "instance/run" and not lost:
            lost.append(message)
            return []
        return [message]

    def fail(_pictures):
        raise Refused("unsupported", "that host does not know it")

    cloud.tap(lose)
    monkeypatch.setattr(plans, "repair", fail)
    _, task = cloud.ask()
    cloud.until_rest()
    assert lost
    assert cloud.task(task) == ("done", None)
