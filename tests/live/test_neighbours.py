"""Nodes take an image from each other over real doors: TLS by id, tickets of their cluster, and one of them dies in the middle."""

import dataclasses
import hashlib
import random
import threading
import time
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from luhyaapi.agent import Agent
from luhyaapi.conf import Settings
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Refused
from luhyaapi.transfer import growing
from luhyaapi.transfer.base import Source
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.curl import Curl
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.wire import identity, tls
from luhyaapi.wire.blobs import block_routes
from luhyaapi.wire.http import Door
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.signing import make_ticket
from nc import door as nc_door
from nc.role import ROLE
from nc.services.lazy.traces import Traces
from nc.services.office import Office
from tests.live.test_tls import House

pytestmark = pytest.mark.live
CC = "cc-0000000c"
NODES = [f"nc-0000000{n}" for n in range(1, 5)]
CONTENT = random.Random(9).randbytes(12 * 2**20 + 77)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Cluster:
    """A cluster's door that counts what it gives, at a certain speed, and nodes with real doors of their own."""

    def __init__(self, folder, rate):
        self.house = House(folder)
        self._rate = rate
        self.given = 0
        self.key = identity.own_key(self.house.member(CC))
        self.cache = BlobCache(folder / "cc-cache", 1000, 0)
        self.cache.part(SHA256).write_bytes(CONTENT)
        self.cache.adopt(self.cache.part(SHA256), SHA256)
        self.blob = Blob(part="disk", sha256=SHA256, index=self.cache.index(SHA256).name, size=len(CONTENT))
        self.door = Door("cc", "127.0.0.1", 0, block_routes("cc", self, lambda *_: None), lambda: (), tls.serving(folder / CC / "identity")).start()
        self.nodes = {name: self._node(folder, name) for name in NODES}
        self.doors = {name: nc_door.make(office).start() for name, office in self.nodes.items()}

    def index(self, sha256):
        return self.cache.index(sha256)

    def frames(self, sha256, wanted):
        for frame in CacheGiver(self.cache).frames(sha256, wanted):
            time.sleep(len(frame) / self._rate)
            self.given += len(frame)
            yield frame

    def _node(self, folder, name):
        own = self.house.member(name, CC)
        known = dataclasses.replace(Membership.load(own), boss_certificate=Membership.load(folder / CC / "identity").certificate)
        settings = Settings(host={"role": "nc", "state": own.parent, "tls": True, "door_port": 0})
        agent = Agent(ROLE, settings, known, identity.own_key(own))
        domains = SimpleNamespace(exports=SimpleNamespace(traces=Traces(own.parent / "lazy")))
        return Office(agent, BlobCache(own.parent / "cache", 1000, 0), domains)

    def near(self, giver, asker, **claims):
        """A neighbour as the cluster names it."""
        ticket = make_ticket(self.key, {"get": [SHA256], "to": asker, "at": giver} | claims)
        url = f"https://127.0.0.1:{self.doors[giver].port}/nc/api/1.0/blobs/{SHA256}"
        return Source(url, {"Authorization": f"Ticket {ticket}"}, tls.trust(self.nodes[asker].agent.identity, giver))

    def fetch(self, name, *before):
        office = self.nodes[name]
        fetch(
            office.cache, self.blob, f"https://127.0.0.1:{self.door.port}/cc/api/1.0/blobs/{SHA256}", "t",
            trust=tls.trust(office.agent.identity, CC), neighbours=[self.near(each, name) for each in before],
        )

    def stop(self):
        for door in (self.door, *self.doors.values()):
            door.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"), 6e6)
    yield made
    made.stop()


def ask(near):
    Curl().get(Source(near.url + "/index", near.headers, near.trust), print, lambda: False)


@pytest.mark.parametrize("wrong", [{"at": NODES[1]}, {"get": ["0" * 64]}])
def test_a_node_gives_nothing_for_another_ticket(cluster, wrong):
    with pytest.raises(Refused) as refused:
        ask(cluster.near(NODES[0], NODES[1], **wrong))
    assert refused.value.code == "forbidden"


def test_a_node_that_has_nothing_says_so_after_a_moment(cluster):
    begun = time.monotonic()
    with pytest.raises(Refused) as refused:
        ask(cluster.near(NODES[0], NODES[1]))
    assert refused.value.code == "not_found"
    assert growing.PATIENCE_S <= time.monotonic() - begun < growing.PATIENCE_S + 20


def answers():
    """Requests for blocks that nodes have answered, or begun to."""
    return sum(
        s.value for m in REGISTRY.collect() if m.name == "educloud_http_answers" for s in m.samples
        if s.name.endswith("_total") and s.labels["role"] == "nc" and "blocks" in s.labels["route"] and s.labels["status"] == "200"
    )


def test_in_a_row_and_over_the_gap_of_one_that_dies(cluster):
    trouble, before = [], answers()

    def one(n):
        try:
            cluster.fetch(NODES[n], *reversed(NODES[max(n - 2, 0) : n]))
        except Exception as e:
            trouble.append(e)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(NODES))]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while not cluster.given > len(CONTENT) // 4 and time.monotonic() < until:
        time.sleep(0.01)
    dying = cluster.doors[NODES[1]]
    dying._server.shutdown_timeout = 0
    dying.stop()
    for thread in threads:
        thread.join(20)
    assert trouble == []
    for office in cluster.nodes.values():
        assert office.cache.path(SHA256).read_bytes() == CONTENT
    print(f"{cluster.given / len(CONTENT):.2f} copies, {answers() - before:.0f} answers of nodes")
    assert cluster.given < 1.2 * len(CONTENT)
    assert answers() - before > len(NODES) - 1, "who took from the dead one asked the one before it"
