"""Orders on one instance, looks at it and its guest's own end meet in any way: files and reports stay right."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from luhyaapi.contracts.specs import Forward, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import DomainState, InstanceState
from luhyaapi.errors import Failed, Refused, Unavailable
from nc.services import belongings
from nc.services.domains import Domains
from tests.support.small_node import JOB, ONE, PATIENCE_S, Node


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.fixture
def beside():
    with ThreadPoolExecutor(2) as pool:
        yield pool.submit


def test_a_look_during_a_delete_leaves_it_alone(node, beside):
    node.start()
    reached, let_go = node.driver.hold("remove")
    deleting = beside(node.delete)
    assert reached.wait(PATIENCE_S)
    node.domains.look(ONE, set())
    node.domains.reconcile(set())
    let_go.set()
    deleting.result(PATIENCE_S)
    assert not node.folder.exists()
    assert node.states == [InstanceState.RUNNING], "how a delete ended its order says"


def test_a_delete_waits_for_a_look_that_began_before_it(node, beside):
    node.start()
    reached, let_go = node.driver.hold("inspect")
    looking = beside(node.domains.look, ONE, set())
    assert reached.wait(PATIENCE_S)
    deleting = beside(node.delete)
    with pytest.raises(TimeoutError):
        deleting.result(0.2)
    let_go.set()
    looking.result(PATIENCE_S)
    deleting.result(PATIENCE_S)
    assert not node.folder.exists()
    assert node.driver.inspect(ONE).state is DomainState.ABSENT


def test_what_a_list_said_before_an_order_came_is_asked_again(node, beside):
    node.start()
    node.stop()
    reached, let_go = node.driver.hold("list")
    comparing = beside(node.domains.reconcile, set())
    assert reached.wait(PATIENCE_S)
    node.start()
    let_go.set()
    comparing.result(PATIENCE_S)
    assert node.domains.wanted.read(ONE).state == InstanceState.RUNNING
    assert node.states[-1] == InstanceState.RUNNING
    assert node.driver.inspect(ONE).state is DomainState.RUNNING


def test_a_process_that_takes_its_socket_away_while_all_is_removed_is_no_trouble(node, monkeypatch):
    node.start()
    belongings.screen_of(node.folder).touch()
    unlink = os.unlink

    def second(path, **where):
        unlink(path, **where)
        if str(path) == belongings.SOCKET:
            raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", second)
    node.delete()
    assert not node.folder.exists()


def test_what_a_delete_could_not_take_away_is_told_once_it_is_gone(node):
    node.start()
    node.network.faults.fail_next("unplug", "network")
    with pytest.raises(Failed):
        node.delete()
    assert node.folder.exists()
    node.domains.reconcile(set())
    assert not node.folder.exists()
    assert node.states == [InstanceState.RUNNING, InstanceState.DELETED]


def test_half_a_file_that_somebody_died_over_is_gone_at_the_next_start(node, tmp_path):
    node.start()
    half = node.folder / "wanted.json.part"
    half.touch()
    again = Node(tmp_path)
    assert not half.exists()
    assert again.domains.wanted.read(ONE) is not None


def _spec(node, number, version=1):
    image = node.image.model_copy(update={"version": version})
    return MachineSpec(instance=ONE, name="trial", cpus=1, memory_mib=96, image=image, display_port=8700, disk=number)


def test_one_whose_turn_others_have_at_the_first_comparison_is_started_at_the_next(node, beside):
    """The greeting of a host that lost its power tells of each instance while all are compared."""
    node.start()
    node.driver.end(ONE)
    reached, let_go = threading.Event(), threading.Event()

    def tell(facts):
        node.told.append(facts)
        reached.set()
        assert let_go.wait(PATIENCE_S)

    back = Domains(node.settings, node.hands, "nc-00000001", tell)
    greeting = beside(back.greet, set())
    assert reached.wait(PATIENCE_S)
    back.reconcile(set())
    let_go.set()
    greeting.result(PATIENCE_S)
    back.reconcile(set())
    assert node.driver.inspect(ONE).state is DomainState.RUNNING
    assert node.states == [InstanceState.RUNNING, InstanceState.STARTING, InstanceState.RUNNING]
    node.driver.end(ONE)
    back.reconcile(set())
    assert node.states[-1] == InstanceState.STOPPED, "it is watched now"


def test_a_system_disk_is_not_gone_back_to(tmp_path):
    node = Node(tmp_path)
    node.domains.start(JOB, _spec(node, 5, version=2), node.next(), 1)
    node.stop()
    node.domains.start(JOB, _spec(node, 3, version=1), node.next(), 1)
    wanted = node.domains.wanted.read(ONE)
    assert (wanted.spec.disk, wanted.spec.image.version, node.told[-1].version) == (5, 2, 2)


def test_what_runs_on_an_older_disk_is_stopped_for_a_newer_one(tmp_path):
    node = Node(tmp_path)
    node.start()
    states = []
    node.driver.effect = lambda what, _instance, _domain: states.append(what)
    node.domains.start(JOB, _spec(node, 2), node.next(), 1)
    assert states == ["stopped", "defined", "running"]


def test_cancelled_before_it_begins_it_keeps_the_disk_it_has(tmp_path):
    node = Node(tmp_path)
    node.start()

    def cancelled():
        raise Refused("cancelled", "It was cancelled")

    job = SimpleNamespace(task="tsk-00000002", checkpoint=cancelled, cancelled=lambda: True)
    with pytest.raises(Refused):
        node.domains.start(job, _spec(node, 2, version=2), node.next(), 1)
    assert node.domains.wanted.read(ONE).spec.disk == 0
    assert node.driver.inspect(ONE).state is DomainState.RUNNING


def test_of_doubtful_ones_only_what_is_not_here_is_said_not_to_run(node):
    node.start()
    node.driver._write("ins-0000000c", node.driver._read(ONE))
    node.told.clear()
    node.domains.disown([ONE, "ins-0000000b", "ins-0000000c", "ins-0000000d"], {"ins-0000000d"})
    assert [(f.instance, f.state, f.gen) for f in node.told] == [("ins-0000000b", InstanceState.STOPPED, 0)]


def test_a_hypervisor_that_does_not_answer_disowns_nothing(node):
    node.driver.faults.always["list"] = "hypervisor_down"
    with pytest.raises(Unavailable):
        node.domains.disown([ONE], set())
    assert node.told == []


def test_a_serial_console_is_there_or_says_why_not(node):
    with pytest.raises(Refused, match="no serial console now") as e:
        node.domains.ways.serial(ONE)
    assert e.value.params["hint"] == "Start it first."
    node.start()
    with pytest.raises(Refused) as e:  # a guest that does not listen
        node.domains.ways.serial(ONE)
    assert e.value.code == "not_found"
    node.driver.answer(ONE)
    with node.domains.ways.serial(ONE) as line:
        line.settimeout(PATIENCE_S)
        heard = line.recv(100)
        assert heard.endswith(b"starts\n")
        line.sendall(b"typed")
        assert line.recv(100) == b"typed"
        node.stop()
        with contextlib.suppress(ConnectionResetError):
            while line.recv(100):
                pass
    folder = node.domains.wanted.folder(ONE)
    assert list((folder / belongings.SERIAL).iterdir()) == []


def test_a_guest_of_a_version_before_has_one_after_its_next_start(node):
    node.start()
    belongings.serial_of(node.domains.wanted.folder(ONE)).unlink()
    with pytest.raises(Refused, match="after its next start") as e:
        node.domains.ways.serial(ONE)
    assert e.value.code == "state"


def test_a_hypervisor_without_sockets_offers_none(node, monkeypatch):
    node.start()
    monkeypatch.setattr(node.driver, "screen", lambda _facts, _at: 8700)
    with pytest.raises(Refused, match="no serial console"):
        node.domains.ways.serial(ONE)


def test_only_forwarded_ports_of_a_guest_that_runs_are_reached(node):
    with pytest.raises(Refused, match="does not run"):
        node.domains.ways.forwarded(ONE, 22)
    node.start(nics=(Nic(mac="52:54:00:00:00:0a", ip="10.231.0.7", forwards=(Forward(guest_port=22, port=9100), Forward(guest_port=80, port=9101))),))
    assert [node.domains.ways.forwarded(ONE, port) for port in (22, 80)] == [9100, 9101]
    with pytest.raises(Refused, match="not reached here") as e:
        node.domains.ways.forwarded(ONE, 9100)
    assert e.value.code == "not_found"
    assert "22, 80" in e.value.why
    node.stop()
    with pytest.raises(Refused, match="does not run"):
        node.domains.ways.forwarded(ONE, 22)
