"""What a child's own broker account may do, against a real broker: read its two queues, write its exchange, nothing else."""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pika
import pytest
from pika.exceptions import AMQPError

from luhyaapi.errors import Unavailable
from luhyaapi.wire.amqp import AmqpDownLink
from tests.support import private_broker

pytestmark = pytest.mark.live
BASE = "19200"
BOSS, MINE, OTHER = "cc-00000001", "nc-0000000a", "nc-0000000b"


@pytest.fixture(scope="module")
def cloud():
    with private_broker.services(BASE) as made:
        yield made


@pytest.fixture(scope="module")
def link(cloud):
    return AmqpDownLink(private_broker.broker_of(cloud, "cc"), BOSS, children=list)


@pytest.fixture(scope="module")
def account(link):
    link.admit(OTHER)
    return link.admit(MINE).url


def may(url: str, act: Callable) -> bool:
    try:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            act(channel)
        finally:
            if connection.is_open:
                connection.close()
    except AMQPError:
        return False
    return True


def test_a_child_does_its_own_work(account):
    assert may(account, lambda c: c.basic_get(f"cmd.{MINE}.v1"))
    assert may(account, lambda c: c.basic_get(f"ctl.{MINE}.v1"))
    assert may(account, lambda c: c.basic_consume(f"seat.{MINE}.v1", print, exclusive=True))
    assert may(account, lambda c: c.basic_publish(f"out.{MINE}.v1", "", b"x", mandatory=True))


@pytest.mark.parametrize("act", [
    lambda c: c.basic_get(f"cmd.{OTHER}.v1"),
    lambda c: c.basic_consume(f"seat.{OTHER}.v1", print),
    lambda c: c.basic_publish("", f"seat.{MINE}.v1", b"x", mandatory=True),
    lambda c: c.basic_get(f"rep.{BOSS}.v1"),
    lambda c: c.basic_get(f"dead.{BOSS}.v1"),
    lambda c: c.queue_declare("mine"),
    lambda c: c.queue_declare("", exclusive=True),
    lambda c: c.queue_declare(f"cmd.{MINE}.v1\n"),
    lambda c: c.exchange_declare(f"out.{MINE}.v2", "topic"),
    lambda c: c.queue_bind(f"cmd.{MINE}.v1", f"out.{OTHER}.v1", "#"),
    lambda c: c.queue_bind(f"cmd.{MINE}.v1", f"out.{MINE}.v1", "#"),
    lambda c: c.queue_delete(f"cmd.{MINE}.v1"),
    lambda c: c.basic_publish("", f"cmd.{MINE}.v1", b"x", mandatory=True),
    lambda c: c.basic_publish("", f"cmd.{OTHER}.v1", b"x", mandatory=True),
    lambda c: c.basic_publish(f"out.{OTHER}.v1", "", b"x", mandatory=True),
    lambda c: c.basic_publish("amq.topic", "", b"x", mandatory=True),
], ids=[
    "read another's orders", "sit on another's seat", "write to its seat", "read the boss's reports", "read dead letters",
    "declare", "declare without a name", "declare a look-alike",
    "declare an exchange", "bind to another", "bind to itself", "delete", "write own orders", "write another's orders",
    "speak as another", "write elsewhere",
])
def test_a_child_does_nothing_else(account, act):
    assert not may(account, act)


def test_a_child_is_known_in_its_boss_place_only(account, cloud):
    assert not may(account.rsplit("/", 1)[0] + "/clc", lambda c: None)
    at = urlsplit(account)
    management = httpx.get(f"http://127.0.0.1:{cloud.ports['management']}/api/overview", auth=(at.username, at.password), timeout=10)
    assert management.status_code == 401


def test_a_removed_child_is_shut_out(link):
    url = link.admit("nc-0000000c").url
    assert may(url, lambda c: None)
    held = pika.BlockingConnection(pika.URLParameters(url))
    link.remove("nc-0000000c")
    assert not may(url, lambda c: None)
    with pytest.raises(AMQPError):
        held.process_data_events(time_limit=10)


def soon(true: Callable, patience_s: float = 30) -> bool:
    until = time.monotonic() + patience_s
    while not true() and time.monotonic() < until:
        time.sleep(0.1)
    return bool(true())


@pytest.fixture
def listening(link, account):
    """Start the boss's end with what takes reports; what died is gathered."""
    dead, ends = [], []

    def start(take: Callable) -> list:
        other = AmqpDownLink(link._conf, BOSS, children=lambda: [MINE])
        other.start(take, dead.append)
        ends.append(other)
        assert soon(other.is_connected)
        return dead

    yield start
    for end in ends:
        end.stop()


def test_a_report_nobody_can_take_dies_with_its_story_and_can_be_sent_again(listening, account):
    tries = []

    def take(batch: list[tuple[str, bytes]]) -> list[Exception | None]:
        # other tests left their own there
        messages = [message for _, message in batch]
        tries.extend(m for m in messages if m == b"poison")
        return [ValueError("a fault of ours") if m == b"poison" else None for m in messages]

    dead = listening(take)
    assert may(account, lambda c: c.basic_publish(f"out.{MINE}.v1", "", b"poison", mandatory=True))
    assert soon(lambda: dead)
    assert (dead[0].message, dead[0].queue) == (b"poison", f"rep.{BOSS}.v1")
    assert "again and again" in dead[0].reason
    assert 2 <= len(tries) <= 10


def test_a_report_that_cannot_be_taken_now_is_held_and_not_lost(listening, account):
    tries = []

    def take(batch: list[tuple[str, bytes]]) -> list[Exception | None]:
        tries.extend(message for _, message in batch if message == b"patient")
        if 0 < len(tries) < 9:
            raise Unavailable("busy", "The database does not answer")
        return [None] * len(batch)

    dead = listening(take)
    assert may(account, lambda c: c.basic_publish(f"out.{MINE}.v1", "", b"patient", mandatory=True))
    assert soon(lambda: len(tries) == 9)
    time.sleep(0.5)
    assert tries == [b"patient"] * 9
    assert dead == []


def test_an_order_its_receiver_fails_at_dies_with_the_order_inside(listening, link, account):
    dead = listening(lambda batch: [None] * len(batch))
    link.command(OTHER, b'{"signed": "the order"}', control=False)
    with httpx.Client(base_url=f"http://127.0.0.1:{link._conf.admin_port}/api", auth=link._auth) as api:
        for _ in range(10):
            form = {"count": 1, "ackmode": "reject_requeue_true", "encoding": "auto"}
            api.post(f"/queues/cc/cmd.{OTHER}.v1/get", json=form)
    assert soon(lambda: dead)
    assert (dead[0].message, dead[0].queue) == (b'{"signed": "the order"}', f"cmd.{OTHER}.v1")
