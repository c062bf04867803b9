"""Reports taken many at once from a real broker: nothing acknowledged before it is kept, one that fails fails alone."""

import time

import pika
import pytest

from luhyaapi.errors import Unavailable
from luhyaapi.wire.amqp import AmqpDownLink, AmqpUpLink, up
from luhyaapi.wire.topology import out_exchange, report_queue
from tests.support import private_broker

pytestmark = pytest.mark.live
BASE = "19700"
BOSS, CHILD = "cc-00000001", "nc-0000000a"


@pytest.fixture(scope="module")
def cloud():
    with private_broker.services(BASE, "clc") as made:
        yield made


class Boss:
    """A boss's end whose taker does as told: ``away`` counts how often nothing can be taken yet, ``wrong`` never can be."""

    def __init__(self, cloud):
        broker = private_broker.broker_of(cloud, "clc")
        self.make_link = lambda: AmqpDownLink(broker, BOSS, children=list)
        self.link = self.make_link()
        self.url = self.link.admit(CHILD).url
        self.away, self.wrong = 0, b""
        self.calls, self.kept, self.dead = [], [], []

    def take(self, batch):
        messages = [message for sender, message in batch if sender == CHILD]
        self.calls.append(messages)
        if self.away:
            self.away -= 1
            raise Unavailable("busy", "The database does not take it now")
        self.kept += [m for m in messages if m != self.wrong]
        return [ValueError("it cannot be kept") if m == self.wrong else None for m in messages]

    def publish(self, *messages):
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        channel = connection.channel()
        for message in messages:
            channel.basic_publish(out_exchange(CHILD), "", message, pika.BasicProperties(delivery_mode=2))
        connection.close()


@pytest.fixture
def boss(cloud):
    made = Boss(cloud)
    yield made
    made.link.stop()
    made.link.remove(CHILD)


def soon(true, patience_s=30):
    until = time.monotonic() + patience_s
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def waiting(boss):
    """Messages of the report queue that nobody acknowledged, seen when its reader is gone."""
    boss.link.stop()
    connection = boss.link._connect()
    try:
        return connection.channel().queue_declare(report_queue(BOSS), passive=True).method.message_count
    finally:
        connection.close()


def test_many_are_taken_together_and_all_are_acknowledged(boss):
    messages = [b"%d" % n for n in range(1300)]
    boss.publish(*messages)
    boss.link.start(boss.take)
    assert soon(lambda: len(boss.kept) == 1300)
    assert boss.kept == messages
    assert len(boss.calls) < 400, "most came together"
    time.sleep(0.5)
    assert waiting(boss) == 0


def test_while_the_database_is_away_nothing_is_acknowledged_and_all_count_once_after(boss):
    messages = [b"%d" % n for n in range(40)]
    boss.away = 2
    boss.publish(*messages)
    boss.link.start(boss.take)
    assert soon(lambda: sorted(boss.kept) == sorted(messages))
    assert boss.calls[0] == boss.calls[1] == boss.calls[2], "the same ones are held and tried again"
    assert len(boss.kept) == 40
    time.sleep(0.5)
    assert waiting(boss) == 0


def test_what_a_boss_had_in_hand_when_it_ended_is_delivered_again(boss):
    boss.away = 1000
    boss.publish(b"one", b"two")
    boss.link.start(boss.take)
    assert soon(lambda: boss.calls)
    assert waiting(boss) == 2
    assert boss.kept == []
    boss.away = 0
    again = boss.make_link()
    again.start(boss.take)
    assert soon(lambda: len(boss.kept) == 2)
    again.stop()
    assert boss.kept == [b"one", b"two"]


@pytest.mark.parametrize("order", [(b"wrong", b"one", b"two"), (b"one", b"wrong", b"two"), (b"one", b"two", b"wrong")])
def test_one_that_fails_dies_alone(boss, order):
    boss.wrong = b"wrong"
    boss.link.start(boss.take, boss.dead.append)
    assert soon(boss.link.is_connected)
    boss.publish(*order)
    assert soon(lambda: boss.dead)
    assert sorted(boss.kept) == [b"one", b"two"]
    assert [(d.message, d.queue) for d in boss.dead] == [(b"wrong", report_queue(BOSS))]
    time.sleep(0.5)
    assert waiting(boss) == 0


def test_a_child_that_is_connected_and_hears_nothing_connects_anew(boss, monkeypatch):
    monkeypatch.setattr(up, "_EARS_EVERY_S", 0.3)
    boss.link.start(boss.take)
    assert soon(boss.link.is_connected)
    heard = []
    child = AmqpUpLink(boss.url, CHILD)
    child.start(heard.append, lambda: None)
    try:
        assert soon(lambda: child._worker and getattr(child._worker.consumer, "task_consumer", None))
        boss.link.command(CHILD, b"one", control=False)
        assert soon(lambda: heard == [b"one"])
        consumer = child._worker.consumer.task_consumer
        for tag in list(consumer._active_tags.values()):
            consumer.channel.basic_cancel(tag, nowait=True)
        boss.link.command(CHILD, b"two", control=False)
        assert soon(lambda: heard == [b"one", b"two"])
    finally:
        child.stop()
