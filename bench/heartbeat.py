"""Heartbeats of 1,000, 10,000 and 100,000 nodes arriving at the CLC: on its board and in its database.

A is the relay as it runs: the AMQP link's consumer, signatures, judges, freshness, memcached, ``Host.last_heard``; every
status is written to the database here (``beat.save_s`` 0), which in service happens once a minute per host. *gathered*: as
clusters send them, up to 200 hosts in a report; *single*: each node's own signed message passed up by its cluster, as before.
B is the original's way: one message each, prefetch 1, a connection to memcached and one set for each, ORM get and save of one row,
acknowledge; 500 reports of nodes that stand all over as many as A has. *one connection kept*: the same but for the connection.
*bare*: py-amqp drains the single messages, acknowledging every hundredth, and reads none. All messages are in the broker before the
clock starts. *age*: so many nodes each beat every 10 s, in real time, for 20 s, from 200 clusters that each report once a second;
another process sends them. Every round ends with a look at the board and the table: each host must show its newest time.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import pika
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import memory
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import HostFacts, HostsFacts
from luhyaapi.wire import topology
from luhyaapi.wire.signing import seal

CLUSTERS, NODES = 200, 100_000
SIZES = (1_000, 10_000, 100_000)
SINGLE, OLD, BARE = 2_000, 500, 10_000
AT_ONCE = 200
ROUNDS = 3
PACED_S, PERIOD_S, GATHER_S = 20, 10, 1.0
BLOBS = ("ab" * 32, "cd" * 32)


def cluster(number: int) -> str:
    return f"cc-{number:08x}"


def node(number: int) -> str:
    return f"nc-{number:08x}"


def boss_of(number: int) -> int:
    """The cluster of a node: 500 in a row are neighbours."""
    return number // (NODES // CLUSTERS)


class Source:
    """Signed reports as hosts send them; all hosts share one key, which costs the receiver the same."""

    def __init__(self, key: Ed25519PrivateKey, boss: str, seq: int = 0) -> None:
        self._key, self._boss, self._seq = key, boss, seq

    def facts(self, number: int, at: float) -> HostFacts:
        return HostFacts.model_construct(
            host=node(number), at=at, uptime_s=86400.0, load=0.42, cpus=32, memory_mib=131072, memory_free_mib=65536, disk_mib=900000,
            disk_free_mib=450000, process_mib=41, services={"hypervisor": "ok"}, guests=12, blobs=BLOBS, refused={},
        )

    def sealed(self, sender: str, report: Report) -> bytes:
        self._seq += 1
        now = time.time()
        return seal(Envelope(
            id=f"{sender}:1:{self._seq}", kind=report.kind, sender=sender, to=self._boss, subject=report.subject, issued_at=now,
            expires_at=now + 3600, deadline=now + 3600, epoch=1, seq=self._seq, body=report.model_dump_json(),
        ), self._key)

    def single(self, count: int, at: float, of: int = 0) -> Iterator[tuple[str, bytes]]:
        """``count`` reports of nodes that stand as far apart as there are ``of``; else of the first ones."""
        for number in range(0, of or count, (of or count) // count):
            yield cluster(boss_of(number)), self.sealed(node(number), self.facts(number, at))

    def gathered(self, count: int, at: float) -> Iterator[tuple[str, bytes]]:
        for first in range(0, count, AT_ONCE):
            if boss_of(first) != boss_of(min(first + AT_ONCE, count) - 1):
                half = (boss_of(first) + 1) * (NODES // CLUSTERS)
                parts = [range(first, half), range(half, min(first + AT_ONCE, count))]
            else:
                parts = [range(first, min(first + AT_ONCE, count))]
            for numbers in parts:
                who = cluster(boss_of(numbers[0]))
                yield who, self.sealed(who, HostsFacts(hosts=tuple(self.facts(n, at) for n in numbers)))


def publish(channel: Any, messages: Iterator[tuple[str, bytes]]) -> int:
    """Into the broker, as clusters do; how many. Returns when the broker has them all."""
    sent = 0
    for sender, body in messages:
        channel.basic_publish(topology.out_exchange(sender), "", body, pika.BasicProperties(delivery_mode=1))
        sent += 1
    return sent


class Boss:
    """A CLC's relay at a real broker, and what it is compared with."""

    def __init__(self, plan: Any, state: Path) -> None:
        from django.conf import settings

        from clc.services import own
        from deploy.roles import ROLES, Links
        from luhyaapi.wire.amqp import AmqpDownLink

        self.own = own.make(state)
        self.settings = settings.EDUCLOUD
        self.link = AmqpDownLink(self.settings.broker, self.own.id, children=list)
        self.house = ROLES["clc"](self.settings, self.own.membership, self.own.key, Links(down=self.link))
        self.queue = topology.report_queue(self.own.id)
        self.port = plan.ports["amqp"]
        self._url = self.link._url
        self.key = Ed25519PrivateKey.generate()
        self.source = Source(self.key, self.own.id, int(time.time()))
        self._hosts()
        self._declare()

    def _hosts(self) -> None:
        from luhyaapi.wire import identity
        from luhyadb.models import Host

        certificate = identity.certify(self.own.authority_key, self.own.authority, identity.request(self.key, "x"), node(0))
        rows = [Host(id=cluster(n), role="cc", name=f"c{n}", state="up", boss=self.own.id, certificate=certificate, request=None) for n in range(CLUSTERS)]
        rows += [Host(id=node(n), role="nc", name=f"n{n}", state="up", boss=cluster(boss_of(n)), certificate=certificate, request=None) for n in range(NODES)]
        Host.objects.bulk_create(rows, batch_size=2000)

    def _declare(self) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(f"{self._url}?heartbeat=0"))
        self.channel = self.connection.channel()
        self.link._declare(self.channel)
        for n in range(CLUSTERS):
            exchange = topology.out_exchange(cluster(n))
            self.channel.exchange_declare(exchange, "topic", durable=True)
            self.channel.queue_bind(self.queue, exchange, "#")

    def fill(self, messages: Iterator[tuple[str, bytes]]) -> int:
        self.channel.queue_purge(self.queue)
        sent = publish(self.channel, messages)
        until = time.monotonic() + 30
        while self.channel.queue_declare(self.queue, passive=True).method.message_count < sent:
            assert time.monotonic() < until
            time.sleep(0.02)
        return sent

    # ---- A

    def consume(self, enough: Callable[[int], bool], save_s: float = 0.0) -> tuple[float, float]:
        """Run the relay until it has taken enough messages: wall and cpu seconds of that."""
        from luhyaapi.wire.amqp import AmqpDownLink

        self.house.agent.services.signs.every_s = save_s
        link = AmqpDownLink(self.settings.broker, self.own.id, children=list)
        seen, done = [0], threading.Event()
        times: dict[str, float] = {}
        relay = self.house.agent.relay

        def take(batch: Any) -> Any:
            if not times:
                times.update(wall=time.monotonic(), cpu=time.process_time())
            failed = relay.take_many(batch)
            assert not any(failed), failed
            seen[0] += len(batch)
            if enough(seen[0]):
                times.update(wall=time.monotonic() - times["wall"], cpu=time.process_time() - times["cpu"])
                done.set()
            return failed

        link.start(take)
        assert done.wait(120)
        link.stop()
        self._drained()
        return times["wall"], times["cpu"]

    def _drained(self) -> None:
        until = time.monotonic() + 10
        while self.channel.queue_declare(self.queue, passive=True).method.message_count:
            assert time.monotonic() < until, f"not all were acknowledged: {self.channel.queue_declare(self.queue, passive=True).method}"
            time.sleep(0.05)

    # ---- B

    def old_way(self, count: int, *, kept: bool) -> tuple[float, float]:
        """One message each, as the original did: read, memcached, get and save, acknowledge. ``kept``: one connection to memcached for all."""
        from pymemcache.client.base import Client

        from luhyadb.models import Host

        board = Client(("127.0.0.1", self.settings.board.port))

        def take(channel: Any, message: Any, _seen: int) -> None:
            facts = json.loads(json.loads(json.loads(message.body)["signed"])["body"])
            board.set(f"old:{facts['host']}", json.dumps(facts), noreply=False)
            if not kept:
                board.close()
            row = Host.objects.get(pk=facts["host"])
            row.last_heard = facts["at"]
            row.save()
            channel.basic_ack(message.delivery_tag)

        return self._drain(count, 1, take)

    def bare(self, count: int) -> tuple[float, float]:
        """The broker's own pace: taken, not read."""

        def take(channel: Any, message: Any, seen: int) -> None:
            if seen % 100 == 0 or seen == count:
                channel.basic_ack(message.delivery_tag, multiple=True)

        return self._drain(count, 1000, take)

    def _drain(self, count: int, ahead: int, take: Callable[[Any, Any, int], None]) -> tuple[float, float]:
        """Wall and cpu seconds until ``take`` had so many messages, ``ahead`` of them on the way to it at most."""
        connection = amqp.Connection(f"127.0.0.1:{self.port}", "clc", self.link._auth[1], virtual_host="clc")
        connection.connect()
        channel = connection.channel()
        channel.basic_qos(0, ahead, False)
        had = 0

        def had_one(message: Any) -> None:
            nonlocal had
            had += 1
            take(channel, message, had)

        channel.basic_consume(self.queue, callback=had_one)
        began, cpu = time.monotonic(), time.process_time()
        while had < count:
            connection.drain_events()
        took = time.monotonic() - began, time.process_time() - cpu
        channel.queue_declare(self.queue, passive=True)  # the broker has read every acknowledgement before this
        connection.close()
        self._drained()
        return took

    # ---- looking

    def check(self, count: int, at: float, since: float) -> None:
        """Every host shows its newest time, on the board and in the table."""
        from luhyadb.models import Host

        board = self.house.agent.services.board
        for first in range(0, count, 1000):
            names = [f"host:{node(n)}" for n in range(first, min(first + 1000, count))]
            found = board.read(names)
            assert len(found) == len(names), f"{len(names) - len(found)} are not on the board"
            assert {picture["at"] for picture in found.values()} == {at}
        fresh = Host.objects.filter(role="nc", last_heard__gte=since).count()
        assert fresh >= count, f"{fresh} of {count} in the table"


def measure() -> dict[str, Any]:
    """Statuses per second, cpu microseconds per status, seconds of age."""
    with memory.services() as plan:
        over = {
            "BROKER__PORT": str(plan.ports["amqp"]), "BROKER__ADMIN_PORT": str(plan.ports["management"]),
            "BROKER__PASSWORD_FILE": str(plan.secret("clc", "broker-password")), "BOARD__PORT": str(plan.ports["memcached"]),
        }
        with memory.opened("clc", **over) as state:
            return _measure(Boss(plan, state), state)


def _measure(boss: Boss, state: Path) -> dict[str, Any]:
    runs: dict[str, list[float]] = {}

    def note(what: str, statuses: int, took: tuple[float, float], turn: int) -> None:
        if turn:  # the first one warms up
            runs.setdefault(f"{what}: statuses/s", []).append(statuses / took[0])
            runs.setdefault(f"{what}: cpu us/status", []).append(took[1] / statuses * 1e6)

    messages = list(boss.source.single(BARE, time.time()))
    for turn in range(ROUNDS + 1):
        began = time.time()
        for size in SIZES if turn else SIZES[:2]:
            at = time.time()
            sent = boss.fill(boss.source.gathered(size, at))
            took = boss.consume(lambda seen, sent=sent: seen >= sent)
            boss.check(size, at, began)
            note(f"A gathered, {size:,} nodes", size, took, turn)
            boss.fill(boss.source.single(OLD, at, of=size))
            note(f"B original's way, {size:,} nodes", OLD, boss.old_way(OLD, kept=False), turn)
        at = time.time()
        boss.fill(boss.source.single(SINGLE, at))
        took = boss.consume(lambda seen: seen >= SINGLE)
        boss.check(SINGLE, at, began)
        note("A single messages", SINGLE, took, turn)
        boss.fill(iter(messages[:OLD]))
        note("B one connection kept", OLD, boss.old_way(OLD, kept=True), turn)
        boss.fill(iter(messages))
        note("bare drain", BARE, boss.bare(BARE), turn)
    for size in SIZES:
        runs |= _paced(boss, state, size)
    return {"database": memory.database(), "runs": runs}


# ---- in real time


def _paced(boss: Boss, state: Path, nodes: int) -> dict[str, list[float]]:
    from luhyadb.models import Host

    key = state / "key"
    key.write_bytes(boss.key.private_bytes_raw())
    board = boss.house.agent.services.board
    board.clear()
    Host.objects.filter(role="nc").update(last_heard=0)
    boss.house.agent.services.signs._saved.clear()
    sending = subprocess.Popen(
        [sys.executable, "-m", "bench.heartbeat", boss._url, boss.own.id, str(key), str(nodes)], cwd=memory.ROOT, stdout=subprocess.PIPE, text=True,
    )
    names = [f"host:{node(n)}" for n in beating(nodes)]
    watcher = _Watcher(board, names)
    watcher.start()
    began = time.monotonic()
    expected = sum(bool(told) for second in range(PACED_S) for told in (due(number, second, nodes) for number in range(CLUSTERS)))
    _, cpu = boss.consume(lambda seen: seen >= expected, save_s=60.0)
    took = time.monotonic() - began
    watcher.ended.set()
    watcher.join()
    sending.wait(30)
    sent, late = sending.stdout.read().split()
    assert int(sent) == expected
    found = sum(len(board.read(names[first:first + 1000])) for first in range(0, nodes, 1000))
    assert found == nodes, f"{nodes - found} are not on the board"
    # Within 20 s of each minute's saving: those whose turn came between their two beats.
    written = Host.objects.filter(role="nc", last_heard__gt=0).count()
    assert written > nodes / 60 * 5, f"{written} of {nodes} in the table"
    return {
        f"{nodes:,} nodes, lag p50, s": [_at(watcher.lags, 0.5)], f"{nodes:,} nodes, lag p99, s": [_at(watcher.lags, 0.99)],
        f"{nodes:,} nodes, age on the board p50, s": [_at(watcher.ages, 0.5)], f"{nodes:,} nodes, age on the board p99, s": [_at(watcher.ages, 0.99)],
        f"{nodes:,} nodes, the sender's own lateness at worst, s": [float(late)],
        f"{nodes:,} nodes, cpu seconds per second": [(cpu - watcher.cpu) / took],
    }


def beating(nodes: int) -> list[int]:
    """The numbers of so many nodes: as many in each cluster."""
    return [number * (NODES // CLUSTERS) + each for number in range(CLUSTERS) for each in range(nodes // CLUSTERS)]


def due(number: int, second: int, nodes: int) -> range:
    """Which nodes of a cluster beat in that second, when there are so many in all: each once in ``PERIOD_S``."""
    first = number * (NODES // CLUSTERS)
    return range(first + second % PERIOD_S, first + nodes // CLUSTERS, PERIOD_S)


def _at(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


class _Watcher(threading.Thread):
    """Looks at 300 hosts twenty times a second: how old they are, and how old what is new was when it was first seen."""

    def __init__(self, board: Any, names: list[str]) -> None:
        super().__init__(daemon=True)
        self._board = board
        self._names = random.Random(7).sample(names, 300)
        self.ended = threading.Event()
        self.lags: list[float] = []
        self.ages: list[float] = []
        self.cpu = 0.0

    def run(self) -> None:
        names, known = self._names, dict[str, float]()
        while not self.ended.wait(0.05):
            now = time.time()
            for name, picture in self._board.read(names).items():
                if known.get(name, 0) != picture["at"]:
                    if name in known:
                        self.lags.append(now - picture["at"])
                    known[name] = picture["at"]
                if len(known) == len(names):
                    self.ages.append(now - picture["at"])
        self.cpu = time.thread_time()


def _send(url: str, boss: str, key: str, nodes: int) -> None:
    """As 200 clusters do: each tells once a second, spread over it, those of its nodes that beat in the second before."""
    # above all numbers of a sender before, which would be newer else
    source = Source(Ed25519PrivateKey.from_private_bytes(Path(key).read_bytes()), boss, int(time.time() * 1000))
    connection = pika.BlockingConnection(pika.URLParameters(f"{url}?heartbeat=0"))
    channel = connection.channel()
    pick = random.Random(11)
    began, sent, late = time.time(), 0, 0.0
    for second in range(PACED_S):
        for number in range(CLUSTERS):
            at = began + second + number / CLUSTERS
            time.sleep(max(at - time.time(), 0))
            beats = tuple(source.facts(n, at - pick.random() * GATHER_S) for n in due(number, second, nodes))
            if not beats:
                continue
            channel.basic_publish(topology.out_exchange(cluster(number)), "", source.sealed(cluster(number), HostsFacts(hosts=beats)))
            sent, late = sent + 1, max(late, time.time() - at)
    connection.close()
    print(sent, late)


if __name__ == "__main__":
    _send(*sys.argv[1:4], int(sys.argv[4]))
