"""Both ends of the wire at a real broker: a second machine with one identity waits in silence, and a broker without room loses nothing."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from luhyaapi.errors import Unavailable
from luhyaapi.wire import topology
from luhyaapi.wire.amqp import AmqpDownLink, AmqpUpLink
from tests.support import private_broker

pytestmark = pytest.mark.live
BASE = "19800"
ROOT = Path(__file__).resolve().parents[2]
BOSS, CHILD = "cc-00000001", "nc-0000000a"
ORDERS, CUTS = 20, 8
OTHER = """
import sys, threading
from luhyaapi.errors import Unavailable
from luhyaapi.wire.amqp import AmqpUpLink
if sys.argv[3] == "blind":
    AmqpUpLink._is_free = lambda self: True
up = AmqpUpLink(sys.argv[1], sys.argv[2])
up.start(lambda order: print("order", order.decode(), flush=True), lambda: print("connected", flush=True))
for line in sys.stdin:
    try:
        up.report(b"from the other", durable=True)
        print("reported", flush=True)
    except Unavailable as e:
        print("refused", up.trouble(), flush=True)
"""


ROOM = {"memory": ("set_vm_memory_high_watermark", "0.4"), "disk": ("set_disk_free_limit", "50MB")}
NO_ROOM = {"memory": ("set_vm_memory_high_watermark", "absolute", "1MB"), "disk": ("set_disk_free_limit", "900GB")}


@pytest.fixture(scope="module")
def cloud():
    with private_broker.services(BASE, "cc") as made:
        yield made


@pytest.fixture
def link(cloud):
    made = AmqpDownLink(private_broker.broker_of(cloud, "cc"), BOSS, children=list)
    yield made
    made.stop()
    made.remove(CHILD)


class Other:
    """The second machine: a process of its own with the same account."""

    def __init__(self, url, how=""):
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER, url, CHILD, how], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )

    def asked_to_report(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.said()

    def said(self):
        return self._process.stdout.readline().strip()

    def die(self):
        self._process.kill()
        self._process.wait()


def soon(true, patience_s=60):
    until = time.monotonic() + patience_s
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def test_the_second_waits_in_silence_and_takes_over_when_the_first_is_gone(link):
    account = link.admit(CHILD)
    reports, heard, hellos = [], [], []
    link.start(lambda batch: [reports.append(message) for _, message in batch])
    first = AmqpUpLink(account.url, CHILD)
    other = None
    try:
        first.start(heard.append, lambda: hellos.append(1))
        assert soon(first.is_connected)
        assert (first.trouble(), hellos) == ("", [1])
        other = Other(account.url)
        assert soon(lambda: "copy" in other.asked_to_report())
        for n in range(ORDERS):
            link.command(CHILD, b"%d" % n, control=bool(n % 2))
        assert soon(lambda: len(heard) == ORDERS)
        first.report(b"from the first", durable=True)
        assert other.asked_to_report().startswith("refused another connection has this host's identity")
        assert soon(lambda: reports)
        assert reports == [b"from the first"]

        first.stop()
        assert other.said() == "connected"
        link.command(CHILD, b"last", control=False)
        assert other.said() == "order last"
        assert other.asked_to_report() == "reported"
        assert soon(lambda: len(reports) == 2)
        assert reports[1] == b"from the other"
    finally:
        first.stop()
        if other:
            other.die()


def test_who_was_admitted_by_an_earlier_version_is_let_in(link):
    account = link.admit(CHILD)
    link._api("PUT", f"permissions/cc/{CHILD}", {"configure": "^$", "write": "^out", "read": r"^(cmd|ctl)\.nc\-0000000a\.v1$"})
    link.start(lambda batch: [None for _ in batch])
    child = AmqpUpLink(account.url, CHILD)
    try:
        child.start(lambda _order: None, lambda: None)
        assert soon(child.is_connected)
    finally:
        child.stop()


def test_two_that_look_at_the_same_moment_are_not_both_let_in(link):
    """Who does not even look is refused by the broker."""
    account = link.admit(CHILD)
    heard = []
    link.start(lambda batch: [None for _ in batch])
    first = AmqpUpLink(account.url, CHILD)
    other = None
    try:
        first.start(heard.append, lambda: None)
        assert soon(first.is_connected)
        other = Other(account.url, "blind")
        for n in range(3):
            time.sleep(1)
            assert other.asked_to_report().startswith("refused")
            for order in range(ORDERS):
                link.command(CHILD, b"%d.%d" % (n, order), control=bool(order % 2))
        assert soon(lambda: len(heard) == 3 * ORDERS)
        assert len(set(heard)) == 3 * ORDERS
    finally:
        first.stop()
        if other:
            other.die()


@pytest.mark.parametrize("copies", [0, 1])
def test_who_was_cut_off_is_let_in_again_by_itself_before_a_copy_is(link, copies):
    account = link.admit(CHILD)
    heard, hellos, others = [], [], []
    link.start(lambda batch: [None for _ in batch])
    child = AmqpUpLink(account.url, CHILD)
    try:
        child.start(heard.append, lambda: hellos.append(1))
        assert soon(child.is_connected)
        others = [Other(account.url) for _ in range(copies)]
        assert all(soon(lambda other=other: "copy" in other.asked_to_report()) for other in others)
        for cuts in range(1, CUTS + 1):
            child._cut()
            assert soon(lambda cuts=cuts: len(hellos) == 1 + cuts), "it says hello again"
            link.command(CHILD, b"%d" % cuts, control=bool(cuts % 2))
            assert soon(lambda cuts=cuts: b"%d" % cuts in heard, 10), "and hears orders at once"
    finally:
        child.stop()
        for other in others:
            other.die()


@pytest.mark.parametrize("queue", [topology.report_queue, topology.dead_queue], ids=["reports", "dead letters"])
def test_a_boss_whose_queue_was_taken_away_makes_it_anew_and_hears(link, queue):
    """The broker says so without closing anything: a boss that goes on listening to nothing calls all its hosts silent."""
    heard = []
    link.start(lambda batch: [heard.append(message) for _, message in batch])
    account = link.admit(CHILD)
    child = AmqpUpLink(account.url, CHILD)
    try:
        child.start(lambda _order: None, lambda: None)
        assert soon(child.is_connected)
        assert soon(link.is_connected)
        since = link.listening_since()
        link._api("DELETE", f"queues/cc/{queue(BOSS)}")
        assert soon(lambda: (link.listening_since() or 0) > since)
        link.admit(CHILD)
        child.report(b"still there", durable=True)
        assert soon(lambda: heard == [b"still there"])
    finally:
        child.stop()


@pytest.mark.parametrize("lacking", ["memory", "disk"])
def test_a_broker_without_room_takes_nothing_and_loses_nothing(cloud, link, lacking):
    """Who publishes hears so within seconds, and goes on by itself once there is room."""
    account = link.admit(CHILD)
    heard, reports = [], []
    link.start(lambda batch: [reports.append(message) for _, message in batch])
    child = AmqpUpLink(account.url, CHILD)
    try:
        child.start(heard.append, lambda: None)
        assert soon(child.is_connected)
        assert soon(link.is_connected)
        private_broker.control(cloud, *NO_ROOM[lacking])
        for publish in (lambda: link.command(CHILD, b"refused", control=False), lambda: child.report(b"refused", durable=True)):
            with pytest.raises(Unavailable) as e:
                publish()
            assert e.value.code == "broker_down"
        private_broker.control(cloud, *ROOM[lacking])
        assert soon(lambda: _taken(lambda: link.command(CHILD, b"one", control=False)))
        assert soon(lambda: _taken(lambda: child.report(b"two", durable=True)))
        assert soon(lambda: b"one" in heard)
        assert soon(lambda: b"two" in reports)
    finally:
        private_broker.control(cloud, *ROOM[lacking])
        child.stop()


def test_a_broker_that_stands_still_holds_up_nobody_for_ever(cloud, link):
    account = link.admit(CHILD)
    link.start(lambda batch: [None for _ in batch])
    child = AmqpUpLink(account.url, CHILD)
    beam = next(process for process in psutil.process_iter(["cmdline"]) if any(str(cloud.home) in word for word in process.info["cmdline"] or ())
                and "beam" in process.name())
    try:
        child.start(lambda _order: None, lambda: None)
        assert soon(child.is_connected)
        beam.suspend()
        asked = []
        asking = threading.Thread(target=lambda: asked.append(_fails(lambda: child._readers([child._seat]))), daemon=True)
        asking.start()
        asking.join(60)
        assert asked == [True]
    finally:
        beam.resume()
        assert soon(child.is_connected)
        child.stop()


def _fails(work):
    try:
        work()
    except Unavailable:
        return True
    return False


def _taken(publish):
    try:
        publish()
    except Unavailable:
        return False
    return True
