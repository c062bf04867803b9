"""What one instance is in the way of is in no other's way, nor in that of the rest of a node's comparison."""

import errno
from types import SimpleNamespace

import pytest

from luhyaapi.contracts.vocabulary import DomainState, InstanceState
from luhyaapi.errors import Failed, Unavailable
from nc.beat import Beat
from nc.services.domains import Domains
from tests.support.small_node import ONE, Node

TWO, THREE = "ins-0000000b", "ins-0000000c"
ALL = (ONE, TWO, THREE)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.fixture
def dark(node):
    """A node that lost its power under three guests, and its next process."""
    for each in ALL:
        node.start(each)
    for each in ALL:
        node.driver.end(each)
    node.told.clear()
    return Domains(node.settings, node.hands, "nc-00000001", node.told.append)


def runs(node):
    return [node.driver.inspect(each).state is DomainState.RUNNING for each in ALL]


def failing(node, monkeypatch, verb, instance, error):
    """Have that verb of the hypervisor raise for one guest, until the answer is called."""
    real, troubled = getattr(node.driver, verb), {instance}

    def strike(it, *more):
        if it in troubled:
            raise error
        return real(it, *more)

    monkeypatch.setattr(node.driver, verb, strike)
    return troubled.clear


@pytest.mark.parametrize("error", [
    Unavailable("hypervisor_down", "It could not be started", "its process does not answer"),
    OSError(errno.ENOSPC, "No space left on device"), KeyError("a fault of ours"),
])
def test_after_a_power_cut_one_guest_that_cannot_be_started_keeps_none_dark(node, dark, monkeypatch, error):
    mend = failing(node, monkeypatch, "start", ONE, error)
    dark.reconcile(set())
    assert runs(node) == [False, True, True]
    assert [(f.instance, f.state) for f in node.told if f.instance == ONE] == [(ONE, InstanceState.STARTING)]
    assert dark.wanted.is_same_boot()
    mend()
    dark.reconcile(set())
    assert runs(node) == [True, True, True]
    assert (node.told[-1].instance, node.told[-1].state) == (ONE, InstanceState.RUNNING)
    assert dark.wanted.read(ONE).restarts == (), "it did not crash: nobody watched it before"


def test_a_guest_that_does_not_let_itself_be_ended_keeps_none_dark(node, dark, monkeypatch):
    dark.wanted.write(dark.wanted.read(ONE).model_copy(update={"state": InstanceState.DELETED}))
    node.driver._write("ins-0000000f", node.driver._read(TWO) | {"state": DomainState.RUNNING})
    busy = Failed("hypervisor", "It could not be stopped", "Failed to terminate process 7 with SIGKILL: Device or resource busy")
    mend = failing(node, monkeypatch, "stop", ONE, busy)
    dark.reconcile(set())
    assert runs(node) == [False, True, True]
    assert dark.strangers == ("ins-0000000f",)
    mend()
    dark.reconcile(set())
    assert not dark.wanted.folder(ONE).exists()


def test_a_hypervisor_that_goes_away_meanwhile_ends_the_comparison(node, dark, monkeypatch):
    def start(_instance):
        node.driver.faults.always["list"] = "hypervisor_down"
        raise Unavailable("hypervisor_down", "It does not answer")

    asked = []
    monkeypatch.setattr(node.driver, "start", lambda it: asked.append(it) or start(it))
    with pytest.raises(Unavailable):
        dark.reconcile(set())
    assert asked == [ONE], "the others would wait as long for nothing"
    assert not dark._compared


def test_the_same_trouble_with_an_instance_is_one_line(node, dark, monkeypatch, caplog):
    caplog.set_level(0)
    failing(node, monkeypatch, "start", ONE, OSError(errno.ENOSPC, "No space left on device"))
    for _ in range(3):
        dark.reconcile(set())
    assert [r.getMessage().count("could not be looked at") for r in caplog.records if ONE in r.getMessage() + str(r.__dict__)].count(1) == 1


def test_each_part_of_a_comparison_is_done_also_when_another_fails(node, dark, monkeypatch):
    done = []
    office = SimpleNamespace(domains=dark, cache=node.hands.cache)
    beat = Beat(SimpleNamespace(services=office, journal=SimpleNamespace(open_subjects=set)), node.driver)
    beat._probe = node.driver.probe()
    node.driver.faults.always["list"] = "hypervisor_down"
    monkeypatch.setattr(office.cache, "sweep", lambda _age: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only")))
    monkeypatch.setattr(node.network, "guard", done.append)
    with pytest.raises(OSError, match="read-only"):
        beat.reconcile()
    assert set(done[0].guests) == set(ALL)
    node.driver.faults.always.clear()
    with pytest.raises(OSError, match="read-only"):
        beat.reconcile()
    assert runs(node) == [True, True, True]
