"""A guest whose node has no room for what it writes stands still, is said to, and goes on by itself when there is room."""

from types import SimpleNamespace

import pytest

from luhyaapi import clock, facts
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.vocabulary import InstanceState
from nc.beat import Beat
from nc.services.domains import Domains
from nc.services.stalls import EVERY_S, ROOM_MIB
from tests.support.small_node import ONE, Node

MIB = 1024 * 1024


class Disk(facts.Machine):
    free = 0

    def disk(self, folder):
        return 10_000 * MIB, self.free


@pytest.fixture
def disk():
    machine = Disk()
    before = facts.use(machine)
    yield machine
    facts.use(before)


@pytest.fixture
def hand():
    manual = ManualClock(1000.0)
    before = clock.use(manual)
    yield manual
    clock.use(before)


@pytest.fixture
def node(tmp_path, hand):
    made = Node(tmp_path)
    made.start()
    made.driver.full.add(ONE)
    made.driver.write(ONE)
    made.effects = []
    made.driver.effect = lambda what, _instance, _domain: made.effects.append(what)
    return made


def told(node):
    return [(f.state, f.error.code if f.error else "") for f in node.told[1:]]


def test_it_is_told_once_with_what_to_do(node, disk):
    for _ in range(3):
        node.domains.reconcile(set())
    assert told(node) == [(InstanceState.RUNNING, "disk_full")]
    error = node.told[-1].error
    assert (error.what, error.why) == ("The guest stands still", "its node had no room for what it wrote to its disk")
    assert "goes on by itself" in error.hint
    assert node.domains.stalls.instances == {ONE}
    assert node.effects == [], "there is no room yet"


def test_it_goes_on_when_there_is_room(node, disk):
    node.domains.reconcile(set())
    disk.free = ROOM_MIB * MIB
    node.driver.full.clear()
    node.domains.look(ONE, set())
    assert node.effects == ["resumed"]
    assert told(node) == [(InstanceState.RUNNING, "disk_full"), (InstanceState.RUNNING, "")]
    assert node.domains.stalls.instances == set()


def test_one_that_stands_still_again_at_once_makes_no_storm(node, disk, hand):
    disk.free = 2 * ROOM_MIB * MIB
    node.driver.watch(lambda instance: None)
    for _ in range(20):
        node.domains.look(ONE, set())
        hand.sleep(EVERY_S / 10)
    assert node.effects == ["resumed", "paused"] * 2
    assert told(node) == [(InstanceState.RUNNING, "disk_full")]


def test_the_next_process_knows_too_and_a_stop_ends_it(node, disk):
    back = Domains(node.settings, node.hands, "nc-00000001", node.told.append)
    back.reconcile(set())
    assert back.stalls.instances == {ONE}
    node.stop()
    back.reconcile(set())
    assert back.stalls.instances == set()
    assert told(node)[-1] == (InstanceState.STOPPED, "")


def test_an_order_to_start_lets_it_go_on_at_once(node, disk):
    node.driver.full.clear()
    node.start()
    assert node.effects == ["resumed"]


def test_its_node_says_how_many(node, disk):
    said = []
    office = SimpleNamespace(domains=node.domains, cache=node.hands.cache, trouble="")
    journal = SimpleNamespace(counts=lambda: (0, 0))
    beat = Beat(SimpleNamespace(services=office, me="nc-00000001", settings=node.settings, report=said.append, journal=journal), node.driver)
    beat.beat()
    node.domains.reconcile(set())
    beat.beat()
    assert [dict(facts.services).get("disk", "") for facts in said] == ["", "has no room for what guests write: 1 of them stand still"]
