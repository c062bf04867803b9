"""Store, cluster and node with real doors: what a guest waits for comes through a cluster that has not got it itself yet."""

import hashlib
import random
import threading
import time

import pytest

from luhyaapi.contracts.specs import Blob
from luhyaapi.transfer import demand as demands
from luhyaapi.transfer.arrivals import Arrivals, Coming
from luhyaapi.transfer.blocks import BLOCK
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.transfer.growing import PATIENCE_S
from luhyaapi.wire.blobs import block_routes
from luhyaapi.wire.http import Door

pytestmark = pytest.mark.live
BLOCKS, LAST = 80, 75
CONTENT = random.Random(5).randbytes(BLOCKS * BLOCK)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MBIT = 12


@pytest.fixture
def doors():
    opened = []

    def door(role, cache):
        opened.append(Door(role, "127.0.0.1", 0, block_routes(role, CacheGiver(cache, PATIENCE_S), lambda *_asked: None), lambda: ()).start())
        return f"http://127.0.0.1:{opened[-1].port}/{role}/api/1.0"

    yield door
    for each in opened:
        each.stop()


def test_a_guest_reads_the_end_of_a_disk_its_cluster_has_just_begun_to_fetch(tmp_path, doors, monkeypatch):
    monkeypatch.setattr(demands, "LARGEST", 8)
    store, cluster, node = (BlobCache(tmp_path / name, 1000, 0, mbit) for name, mbit in (("store", 0), ("cluster", MBIT), ("node", 0)))
    store.part(SHA256).write_bytes(CONTENT)
    store.adopt(store.part(SHA256), SHA256)
    blob = Blob(part="disk", sha256=SHA256, index=store.index(SHA256).name, size=len(CONTENT))
    arrivals = Arrivals(tmp_path / "arrivals", cluster)
    began = time.monotonic()
    arrivals.bring(Coming(blob=blob, url=doors("walrus", store), ticket="t"), lambda: False)
    through, demand = doors("cc", cluster), Demand(blob.size)
    bringing = threading.Thread(target=fetch, args=(node, blob, f"{through}/blobs/{SHA256}", "t"), kwargs={"demand": demand})
    bringing.start()
    seen = 0
    while (file := demand.get(LAST * BLOCK, 512)) is None:
        seen = demand.wait(seen)
    waited_s = time.monotonic() - began
    file.seek(LAST * BLOCK)
    assert file.read(512) == CONTENT[LAST * BLOCK : LAST * BLOCK + 512]
    assert cluster.path(SHA256) is None, "the cluster has it whole only later"
    demand.get(0, len(CONTENT))  # the guest reads all of it
    bringing.join(60)
    assert node.path(SHA256).read_bytes() == CONTENT
    all_s = time.monotonic() - began
    print(f"the end of the disk after {waited_s:.2f} s, all of it after {all_s:.2f} s")
    assert waited_s < all_s / 2
    until = time.monotonic() + 30
    while cluster.path(SHA256) is None and time.monotonic() < until:
        time.sleep(0.05)
    assert cluster.path(SHA256).read_bytes() == CONTENT
