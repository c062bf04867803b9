"""Guests whose first boot is offline: heard when they say that it is done, and by nothing else."""

import socket
import threading
import time

import pytest

from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Refused, Unavailable
from nc.drivers.fake import FakeHypervisor
from nc.services.first_boots import FirstBoots
from tests.unit.test_domains import JOB, ONE, Node


def soon(true, within_s=5):
    until = time.monotonic() + within_s
    while not (answer := true()) and time.monotonic() < until:
        time.sleep(0.01)
    return answer


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


class Guest:
    """One end of a port; what it says goes to whoever listens."""

    def __init__(self, at):
        self.at = at
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(at))
        self._listener.listen()

    def says(self, *pieces):
        sock, _ = self._listener.accept()
        threading.Thread(target=self._say, args=(sock, pieces), daemon=True).start()
        return sock

    def _say(self, sock, pieces):
        for piece in pieces:
            try:
                sock.sendall(piece)
            except OSError:
                return


class Ear:
    def __init__(self):
        self.awaited, self.done = True, []
        self.boots = FirstBoots(lambda _instance: self.awaited, self.done.append)


@pytest.fixture
def guest(tmp_path):
    return Guest(tmp_path / "sock")


@pytest.fixture
def ear():
    made = Ear()
    yield made
    made.awaited = False
    assert soon(lambda: not made.boots._heard)


@pytest.mark.parametrize("pieces", [(b"done\n",), (b"do", b"ne\r\n"), (b"\0\xff almost\nnot done\n", b" done \n"), (b"x" * 5000, b"\ndone\n")], ids=range(4))
def test_who_says_it_is_heard(ear, guest, pieces):
    ear.boots.listen(ONE, guest.at)
    ear.boots.listen(ONE, guest.at)
    with guest.says(*pieces):
        assert soon(lambda: ear.done == [ONE])


def test_who_says_anything_else_is_not_heard(ear, guest):
    ear.boots.listen(ONE, guest.at)
    with guest.says(b"undone\ndone", b" not\n", b"DONE\n"):
        assert not soon(lambda: ear.done, 1)


def test_who_ends_may_be_listened_to_again(ear, guest):
    ear.boots.listen(ONE, guest.at)
    guest.says(b"do").close()
    assert soon(lambda: not ear.boots._heard)
    ear.boots.listen(ONE, guest.at)
    with guest.says(b"done\n"):
        assert soon(lambda: ear.done == [ONE])


def test_where_nobody_is_nothing_is_heard(ear, tmp_path):
    ear.boots.listen(ONE, tmp_path / "nobody")
    assert soon(lambda: not ear.boots._heard)
    assert ear.done == []


def test_who_cannot_be_connected_then_is_heard_again(guest, caplog):
    def fails(_instance):
        raise Unavailable("hypervisor_down", "The hypervisor does not answer")

    boots = FirstBoots(lambda _instance: True, fails)
    boots.listen(ONE, guest.at)
    with guest.says(b"done\n"):
        assert soon(lambda: not boots._heard)


def facts(node):
    told = node.told[-1]
    return told.state, told.offline


def test_a_guest_gets_its_carrier_when_its_first_boot_is_done_and_keeps_it_on_that_disk(node):
    node.start(first_boot_offline=True)
    assert facts(node) == (InstanceState.RUNNING, True)
    assert not node.driver.is_connected(ONE)
    node.driver.say_done(ONE)
    node.domains.reconcile(set())
    assert soon(lambda: facts(node) == (InstanceState.RUNNING, False))
    assert node.driver.is_connected(ONE)
    node.stop()
    assert facts(node) == (InstanceState.STOPPED, False)
    node.start(first_boot_offline=True)
    assert facts(node) == (InstanceState.RUNNING, False)
    assert node.driver.is_connected(ONE)
    node.start(first_boot_offline=True, disk=9)
    assert facts(node) == (InstanceState.RUNNING, True)
    assert not node.driver.is_connected(ONE)


def test_one_that_was_stopped_before_it_was_done_is_offline_again(node):
    node.start(first_boot_offline=True)
    node.stop()
    assert facts(node) == (InstanceState.STOPPED, False)
    node.start(first_boot_offline=True)
    assert facts(node) == (InstanceState.RUNNING, True)


def test_another_process_of_the_node_listens_on(node, tmp_path):
    node.start(first_boot_offline=True)
    assert soon(lambda: not node.domains._first_boots._heard), "the one before hears nothing of it"
    node.driver.say_done(ONE)
    again = Node(tmp_path)
    again.domains.reconcile(set())
    assert soon(lambda: (InstanceState.RUNNING, False) in [(f.state, f.offline) for f in again.told])


def test_one_whose_node_died_before_it_was_connected_is_connected_later(node, tmp_path):
    node.start(first_boot_offline=True)
    node.driver.faults.fail_next("connect", "hypervisor_down")
    with pytest.raises(Unavailable):
        node.domains.connect(ONE, node.next(), 1)
    assert not node.driver.is_connected(ONE)
    Node(tmp_path)
    assert FakeHypervisor(tmp_path / "fake").is_connected(ONE)


def test_by_order_it_is_connected_at_once_and_an_older_order_changes_nothing(node):
    node.start(first_boot_offline=True)
    node.domains.connect(ONE, node.next(), 1)
    assert facts(node) == (InstanceState.RUNNING, False)
    with pytest.raises(Refused) as e:
        node.domains.connect(ONE, 1, 1)
    assert e.value.code == "state"
    with pytest.raises(Refused) as e:
        node.domains.connect("ins-000000ff", 9, 1)
    assert e.value.code == "not_found"
    node.delete()


def test_who_looks_for_what_is_broken_is_told_that_it_is_offline(node):
    node.start(first_boot_offline=True)
    (found,) = node.domains.probes.look(ONE)
    assert (found.link, found.state, found.what) == ("guest", "broken", "The guest is offline")
    node.domains.connect(ONE, node.next(), 1)
    assert node.domains.probes.look(ONE)[0].state == "ok"


def test_one_that_is_only_prepared_begins_offline_too(node):
    node.start(first_boot_offline=True)
    spec = node.domains.wanted.read(ONE).spec
    node.stop()
    node.domains.prepare(JOB, spec, node.next(), 1)
    node.start(first_boot_offline=True)
    assert facts(node) == (InstanceState.RUNNING, True)
