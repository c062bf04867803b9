"""Files that may be used before they are whole: a cluster passes on what came, what is waited for comes first, and nothing is forgotten."""

import hashlib
import random
import threading
import time

import pytest

from cc.services.arrivals import ClusterArrivals
from luhyaapi.contracts.specs import Blob, ImageRef
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import arrivals, demand, download, growing
from luhyaapi.transfer.arrivals import Arrivals, Coming
from luhyaapi.transfer.blocks import BLOCK, index_of, numbers
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.frames import unpack
from luhyaapi.transfer.giver import CacheGiver
from tests.support.faulty_transfer import FaultyTransfer

BLOCKS = 40
CONTENT = random.Random(11).randbytes(BLOCKS * BLOCK)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def soon(true, patience_s=10.0):
    until = time.monotonic() + patience_s
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


class Cluster:
    """A cache with what comes into it, and a store behind that answers requests for blocks while ``gate`` is open."""

    def __init__(self, folder, far):
        self.folder, self.far = folder, far
        self.cache = BlobCache(folder / "cache", 1000, 0)
        self.coming = Coming(blob=Blob(part="disk", sha256=SHA256, index=index_of(far.file).name, size=len(CONTENT)), url="fake://store", ticket="t")
        self.again()

    def again(self, **more):
        self.arrivals = Arrivals(self.folder / "arrivals", self.cache, **more)

    def bring(self, cancelled=lambda: False):
        self.arrivals.bring(self.coming, cancelled)

    def frames(self, *wanted):
        return [len(unpack(frame)) for frame in CacheGiver(self.cache, 5.0).frames(SHA256, wanted)]

    @property
    def noted(self):
        return sorted(file.name for file in (self.folder / "arrivals").glob("*"))

    @property
    def is_here(self):
        return self.cache.path(SHA256) is not None


@pytest.fixture
def far(tmp_path, monkeypatch):
    file = tmp_path / "far"
    file.write_bytes(CONTENT)
    monkeypatch.setattr(demand, "LARGEST", 4)
    monkeypatch.setattr(arrivals, "_NEEDED_EVERY_S", 0.02)
    transfer = FaultyTransfer(file, gate=threading.Event())
    monkeypatch.setitem(download.PROTOCOLS, "fake", transfer)
    yield transfer
    transfer.gate.set()


@pytest.fixture
def cluster(tmp_path, far):
    made = Cluster(tmp_path, far)
    yield made
    far.gate.set()
    made.arrivals.forget(SHA256)
    assert soon(lambda: growing.of(made.cache.folder, SHA256) is None)


def test_what_somebody_waits_for_comes_first(cluster, far):
    cluster.bring()
    assert not cluster.is_here
    assert soon(lambda: far.blocks == ["0-3"])
    got = []
    asker = threading.Thread(target=lambda: got.extend(cluster.frames(33)))
    asker.start()
    assert soon(lambda: cluster.arrivals.demand(cluster.coming.blob).is_waited_for)
    far.gate.set()
    asker.join(10)
    assert got == [1]
    assert soon(lambda: cluster.is_here)
    assert far.blocks[:3] == ["0-3", "33", "4-7"]
    assert soon(lambda: cluster.noted == [])
    assert cluster.cache.path(SHA256).read_bytes() == CONTENT


def test_who_waits_for_many_is_not_forgotten(cluster, far):
    """A request may name 64 that a guest waits for; the cluster asks for some at a time."""
    cluster.bring()
    assert soon(lambda: far.blocks == ["0-3"])
    wanted = range(5, BLOCKS, 2)
    got = []
    asker = threading.Thread(target=lambda: got.extend(cluster.frames(*wanted)))
    asker.start()
    assert soon(lambda: cluster.arrivals.demand(cluster.coming.blob).is_waited_for)
    far.gate.set()
    asker.join(10)
    assert sum(got) == len(wanted)
    assert numbers(far.blocks[1], BLOCKS) == list(wanted)[:16], "before anything else comes"


def test_who_asks_for_much_is_given_it_as_it_comes(cluster, far):
    cluster.bring()
    got = []
    asker = threading.Thread(target=lambda: got.extend(cluster.frames(*range(39, -1, -1))))
    asker.start()
    far.gate.set()
    asker.join(10)
    assert sum(got) == BLOCKS
    assert soon(lambda: cluster.is_here)
    assert sorted(n for want in far.blocks for n in numbers(want, BLOCKS)) == list(range(BLOCKS)), "nothing comes twice"


def test_the_next_process_goes_on_with_it(cluster, far):
    far.faults = [Unavailable("transfer", "The host is gone")]
    far.gate.set()
    inline = Arrivals(cluster.folder / "arrivals", cluster.cache, inline=True)
    inline.bring(cluster.coming, lambda: False)
    assert cluster.noted == [f"{SHA256}.json"]
    cluster.again()
    cluster.arrivals.go_on()
    assert soon(lambda: cluster.is_here)
    assert soon(lambda: cluster.noted == [])


def test_what_is_refused_is_said_or_forgotten(cluster, far, monkeypatch):
    far.gate.set()
    with monkeypatch.context() as patched:
        patched.setattr(far, "index", lambda _sha256: (_ for _ in ()).throw(Refused("not_found", "The store has no such file")))
        with pytest.raises(Refused, match="no such file"):
            cluster.bring()
    assert cluster.noted == []
    far.gate.clear()
    cluster.bring()
    assert soon(lambda: far.blocks == ["0-3"])
    far.faults = [Refused("expired", "The ticket is over")]
    far.gate.set()
    assert soon(lambda: cluster.noted == [])
    assert soon(lambda: growing.of(cluster.cache.folder, SHA256) is None)
    assert not cluster.is_here
    cluster.bring()
    assert soon(lambda: cluster.is_here)


def test_a_newer_order_helps_what_is_under_way(cluster, far, monkeypatch):
    """The store moved: the old address answers no more."""
    class Gone:
        def get(self, source, take, stopped):
            if not source.url.endswith("/index"):
                raise Unavailable("transfer", "The host is gone")
            far.get(source, take, stopped)

    far.gate.set()
    monkeypatch.setitem(download.PROTOCOLS, "gone", Gone())
    old, cluster.coming = cluster.coming.model_copy(update={"url": "gone://store"}), cluster.coming
    cluster.arrivals.bring(old, lambda: False)
    assert not cluster.is_here
    cluster.bring()
    assert soon(lambda: cluster.is_here)
    assert soon(lambda: cluster.noted == [])


def test_an_old_ticket_that_ends_does_not_end_a_newer_order(cluster, far, monkeypatch):
    old, arrived = threading.Event(), threading.Event()

    class Ends:
        def get(self, source, take, stopped):
            if source.headers["Authorization"] == "Ticket t" and not source.url.endswith("/index"):
                arrived.set()
                old.wait(10)
                raise Refused("expired", "The ticket is over")
            far.get(source, take, stopped)

    far.gate.set()
    monkeypatch.setitem(download.PROTOCOLS, "fake", Ends())
    monkeypatch.setattr(arrivals.courier, "offer", lambda *_: None)  # the newer order comes in the moment when the old one ends
    cluster.bring()
    assert arrived.wait(10)
    cluster.arrivals.bring(cluster.coming.model_copy(update={"ticket": "new"}), lambda: False)
    old.set()
    assert soon(lambda: cluster.is_here)
    assert far.asked[-1][0] == "Ticket new"


def test_what_is_damaged_is_said_to_the_next_who_wants_it(cluster, far):
    cluster.bring()
    assert soon(lambda: far.blocks == ["0-3"])
    far.faults = ["flip", "flip"]
    far.gate.set()
    assert soon(lambda: cluster.noted == [])
    assert growing.of(cluster.cache.folder, SHA256) is None
    cluster.arrivals.go_on()
    assert len(far.blocks) <= 2, "it is not tried again by itself"
    far.index = lambda _sha256: (_ for _ in ()).throw(Failed("digest", "The store is damaged"))
    with pytest.raises(Failed, match="damaged"):
        cluster.bring()


def test_a_cluster_brings_it_as_long_as_an_instance_needs_it(cluster, far):
    image = ImageRef(image="img-00000001", version=1, blobs=(cluster.coming.blob,))
    cluster.arrivals = ClusterArrivals(cluster.folder / "arrivals", cluster.cache)
    cluster.arrivals.want(image, "ins-00000001")
    cluster.arrivals.want(image, "ins-00000002")
    cluster.bring()
    cluster.arrivals.let_go("ins-00000001")
    time.sleep(0.2)
    assert growing.of(cluster.cache.folder, SHA256)
    cluster.arrivals.let_go("ins-00000002")
    assert soon(lambda: growing.of(cluster.cache.folder, SHA256) is None)
    assert soon(lambda: cluster.noted == [])
    assert not cluster.is_here
    far.gate.set()
    cluster.arrivals.want(image, "ins-00000003")
    cluster.bring()
    assert soon(lambda: cluster.is_here)
    assert soon(lambda: cluster.cache.pins() == {})
    cluster.arrivals.want(image, "ins-00000004")
    assert cluster.cache.pins() == {}, "what is here is not pinned"
    cluster.cache.pin(SHA256, "ins-00000005")
    cluster.cache.pin(SHA256, "tsk-00000005")
    cluster.arrivals.go_on()
    assert cluster.cache.pins() == {SHA256: {"tsk-00000005"}}, "a death left the first; the second is a prefetch's"


def test_what_is_forgotten_stops_to_come(cluster, far):
    cluster.bring()
    assert growing.of(cluster.cache.folder, SHA256)
    cluster.arrivals.forget(SHA256)
    assert soon(lambda: growing.of(cluster.cache.folder, SHA256) is None)
    assert not cluster.is_here
    assert not cluster.arrivals.comes(SHA256)


def test_a_cancelled_wait_leaves_it_coming(cluster, far, monkeypatch):
    slow = threading.Event()
    index = far.index

    def late(sha256):
        slow.wait(5)
        return index(sha256)

    monkeypatch.setattr(far, "index", late)
    with pytest.raises(Refused, match="cancelled"):
        cluster.bring(lambda: True)
    slow.set()
    far.gate.set()
    assert soon(lambda: cluster.is_here)


def test_a_note_that_is_none_is_dropped(cluster):
    (cluster.folder / "arrivals").mkdir()
    (cluster.folder / "arrivals" / f"{'0' * 64}.json").write_text("{")
    cluster.arrivals.go_on()
    assert cluster.noted == []
