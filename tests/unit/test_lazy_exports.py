"""Guests that start before their image is here: what a node does with them, and what the next process of it finds."""

import hashlib
import json
import os
import random
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from luhyaapi import conf
from luhyaapi.contracts.commands import DiskPush, ImageFetch
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec, Neighbour
from luhyaapi.contracts.vocabulary import DiskFormat, DomainState, Part
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer import arrivals, demand, download
from luhyaapi.transfer.base import Source
from luhyaapi.transfer.blocks import BLOCK, index_of
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.sparse import SparseFile
from nc.drivers.fake import FakeHypervisor, FakeNetwork
from nc.handlers.images import FetchImage, PushDisk
from nc.services import belongings
from nc.services.domains import Domains, Hands
from nc.services.lazy import traces
from nc.services.lazy.exports import Exports
from tests.support.faulty_transfer import FaultyTransfer

ONE, TASK = "ins-0000000a", "tsk-00000001"
CONTENT = random.Random(7).randbytes(60 * BLOCK) + bytes(20 * BLOCK)
PATIENCE_S = 10.0


class Node:
    """A node's services with pretended guests and a source that sends nothing until ``far.gate`` opens."""

    def __init__(self, state, file):
        self.state = state
        self.blob = Blob(part=Part.DISK, sha256=hashlib.sha256(CONTENT).hexdigest(), index=index_of(file).name, size=len(CONTENT))
        self.image = ImageRef(image="img-00000001", version=1, blobs=(self.blob,))
        self.settings = conf.Settings(host={"state": state})
        self.cache = BlobCache(state / "cache", 1024, 0)
        self.gen, self.told = 0, []
        self.again()

    def again(self, *, inline=False):
        """A new process of the node; the last one's threads are cut off from it."""
        self.driver = FakeHypervisor(self.state / "fake")
        self.exports = Exports(self.settings, self.cache, inline=inline)
        hands = Hands(self.driver, FakeNetwork(self.state / "fake"), self.cache)
        self.domains = Domains(self.settings, hands, "nc-00000001", self.told.append, self.exports)

    @property
    def job(self):
        agent = SimpleNamespace(identity=self.state, boss="cc-00000001")
        services = SimpleNamespace(agent=agent, cache=self.cache, domains=self.domains)
        return SimpleNamespace(
            task=TASK, services=services, checkpoint=lambda: None, cancelled=lambda: False, progress=lambda *_: None,
        )

    def fetch(self, *, lazy=True):
        FetchImage().run(self.job, ImageFetch(image="img-00000001", ref=self.image, url="fake://boss", ticket="t", lazy=lazy))

    def start(self):
        self.gen += 1
        spec = MachineSpec(instance=ONE, name="trial", cpus=1, memory_mib=96, image=self.image, display_port=8700)
        self.domains.start(self.job, spec, self.gen, 1)

    def stop(self):
        self.gen += 1
        self.domains.stop(self.job, ONE, 0, self.gen, 1)

    def delete(self):
        self.gen += 1
        self.domains.delete(ONE, self.gen, 1)

    @property
    def socket(self):
        return belongings.export_of(self.domains.wanted.folder(ONE))

    @property
    def domain(self):
        return json.loads((self.state / "fake" / "domains" / f"{ONE}.json").read_text())

    @property
    def noted(self):
        return sorted(p.name for p in (self.state / "lazy").iterdir())


def soon(holds):
    until = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


@pytest.fixture
def far(monkeypatch, tmp_path):
    monkeypatch.setattr(demand, "UNTIL_READ_S", 0.0)
    file = tmp_path / "far"
    with SparseFile(file) as opened:
        opened.write(CONTENT)
    transfer = FaultyTransfer(file, gate=threading.Event())
    monkeypatch.setitem(download.PROTOCOLS, "fake", transfer)
    yield transfer
    transfer.gate.set()


@pytest.fixture
def node(tmp_path, far, monkeypatch):
    monkeypatch.setattr(arrivals, "_NEEDED_EVERY_S", 0.05)
    made = Node(tmp_path / "nc", far.file)
    yield made
    for sha256, owners in made.cache.pins().items():
        for owner in owners:
            made.cache.unpin(sha256, owner)
    assert soon(lambda: all(fill.is_over for fill in made.exports._fills.values()))


def backing(overlay):
    return json.loads(subprocess.run(["qemu-img", "info", "-U", "--output=json", str(overlay)], capture_output=True, check=True).stdout)


def test_a_guest_runs_before_its_image_is_here_and_stands_on_it_when_it_is(node, far):
    node.fetch()
    assert node.cache.path(node.blob.sha256) is None
    node.start()
    assert node.socket.is_socket()
    assert node.domain["base_socket"] == str(node.socket)
    found = backing(node.domains.wanted.folder(ONE) / "disk.qcow2")
    assert found["backing-filename"] == str(node.cache.place(node.blob.sha256))
    assert found["virtual-size"] == len(CONTENT)
    node.driver.faults.always["stand"] = "hypervisor"  # it reads on through us
    assert node.exports.demand(node.blob).get(0, len(CONTENT)) is None
    far.gate.set()
    said = subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", "raw", f"nbd+unix:///?socket={node.socket}", str(far.file)], capture_output=True, timeout=20, check=True,
    )
    assert said.stdout == b"Images are identical.\n"
    assert soon(lambda: node.noted == [f"{node.blob.sha256}.trace"])
    node.driver.faults.always.clear()
    # One comparison passes over what the thread that brought the image is just looking at.
    assert soon(lambda: node.domains.reconcile(set()) or not node.socket.exists())
    assert node.domain["base_socket"] == ""
    assert node.domain["base"] == str(node.cache.path(node.blob.sha256))
    assert json.loads((node.state / "lazy" / node.noted[0]).read_text())[:60] == list(range(60))


def test_one_that_is_here_is_started_on_its_file(node, far):
    far.gate.set()
    node.fetch(lazy=False)
    node.fetch()
    node.start()
    assert node.domain["base_socket"] == ""
    assert not node.socket.exists()
    assert not (node.state / "lazy").exists()


def test_turned_off_or_with_xen_or_as_qcow2_it_is_fetched_whole(node, far):
    for over in ({"lazy_start": False}, {"uri": "xen:///system"}):
        settings = node.settings.model_copy(update={"hypervisor": node.settings.hypervisor.model_copy(update=over)})
        assert not Exports(settings, node.cache).may(node.blob)
    assert node.exports.may(node.blob)
    for other in ({"format": DiskFormat.QCOW2}, {"part": Part.KERNEL}, {"size": 0}):
        assert not node.exports.may(node.blob.model_copy(update=other))


def test_the_next_process_goes_on_where_the_last_one_was(node, far):
    node.fetch()
    node.start()
    owner = belongings.owner_of(node.socket)
    node.again()
    node.domains.standing.resume()
    node.exports.go_on()
    assert belongings.owner_of(node.socket) == owner
    node.domains.reconcile(set())
    far.gate.set()
    assert soon(lambda: node.domain["base_socket"] == "")
    assert soon(lambda: not node.socket.exists())


def test_a_death_between_whole_and_standing_on_it_is_mended(node, far):
    node.fetch()
    node.start()
    node.driver.faults.always["stand"] = "hypervisor"
    far.gate.set()
    assert soon(lambda: node.cache.path(node.blob.sha256))
    assert soon(lambda: node.noted == [])
    assert node.socket.is_socket()
    node.again()
    node.domains.reconcile(set())
    assert node.domain["base_socket"] == ""
    assert not node.socket.exists()


def test_a_start_cut_off_half_way_is_ended(node, far):
    node.fetch()
    node.start()
    node.driver.end(ONE)
    node.again()
    node.driver.wake(ONE)
    starts = []
    node.driver.start, begun = (lambda instance: (starts.append(instance), begun(instance))[1]), node.driver.start
    node.domains.reconcile(set())
    node.domains.reconcile(set())
    assert starts == [ONE]


def _cut_off(node):
    """The order's first try dies between making the guest and letting it run; libvirt is back for the second."""
    begin = node.driver.start

    def start(instance):
        begin(instance)
        node.driver.halt(instance)
        node.driver.start = begin
        raise Unavailable("hypervisor_down", "It went away")

    node.driver.start = start
    with pytest.raises(Unavailable):
        node.start()


def test_a_second_start_cut_off_half_way_is_ended_by_the_order(node, far):
    node.fetch()
    node.start()
    node.stop()
    _cut_off(node)
    assert node.driver.inspect(ONE).paused
    node.gen -= 1
    node.start()
    assert not node.driver.inspect(ONE).paused


def test_a_second_start_cut_off_half_way_is_ended_by_the_comparison(node, far):
    node.fetch()
    node.start()
    node.stop()
    _cut_off(node)
    node.domains.reconcile(set())
    assert not node.driver.inspect(ONE).paused


def test_a_socket_that_cannot_be_opened_again_now_is_opened_later_and_others_at_once(node, far, monkeypatch):
    node.fetch()
    node.start()
    node.again()
    real, failures = node.exports.open, [OSError(24, "Too many open files")]
    monkeypatch.setattr(node.exports, "open", lambda *given: (_ for _ in ()).throw(failures.pop()) if failures else real(*given))
    node.domains.standing.resume()
    assert node.exports.instances() == []
    node.domains.reconcile(set())
    assert node.exports.instances() == [ONE]


@pytest.mark.parametrize("end", ["stop", "delete", "crash"])
def test_what_no_guest_reads_is_closed(node, end):
    node.fetch()
    node.start()
    node.domains.reconcile(set())
    if end == "crash":
        node.driver.end(ONE)
        node.domains.reconcile(set())
    else:
        getattr(node, end)()
    assert not node.socket.exists()
    assert node.exports.instances() == []


def test_it_is_started_again_while_its_image_still_comes_and_after(node, far):
    node.fetch()
    node.start()
    node.stop()
    node.start()
    assert node.domain["base_socket"] == str(node.socket)
    node.stop()
    far.gate.set()
    assert soon(lambda: node.cache.path(node.blob.sha256))
    node.start()
    assert node.domain["base_socket"] == ""
    assert node.driver.inspect(ONE).state is DomainState.RUNNING


def test_what_nobody_needs_any_more_comes_no_more(node):
    node.fetch()
    node.start()
    node.delete()
    part = node.cache.part(node.blob.sha256)
    assert soon(lambda: not part.exists())
    node.exports.go_on()
    assert node.noted == []
    assert node.cache.path(node.blob.sha256) is None


def test_what_can_not_be_had_is_said_before_any_guest_starts(node, far, monkeypatch):
    far.gate.set()
    monkeypatch.setattr(far, "index", lambda _sha256: (_ for _ in ()).throw(Refused("forbidden", "The ticket is for something else")))
    with pytest.raises(Refused, match="ticket"):
        node.fetch()
    assert node.noted == []
    with pytest.raises(Refused, match="not on this node"):
        node.start()
    monkeypatch.setattr(far, "index", lambda _sha256: (_ for _ in ()).throw(Unavailable("transfer", "Nobody there")))
    monkeypatch.setattr(arrivals, "_OPEN_S", 0.1)
    with pytest.raises(Unavailable, match="did not arrive"):
        node.fetch()


def test_a_cancelled_fetch_waits_no_longer(node, far, monkeypatch):
    monkeypatch.setattr(far, "index", lambda _sha256: (_ for _ in ()).throw(Unavailable("transfer", "Nobody there")))
    with pytest.raises(Refused, match="cancelled"):
        node.exports.bring(arrivals.Coming(blob=node.blob, url="fake://boss", ticket="t"), lambda: True)


def test_a_source_that_refuses_in_the_middle_is_replaced_by_the_next_order(node, far):
    far.faults = [Refused("expired", "The ticket has expired")]
    node.fetch()
    node.start()
    far.gate.set()
    assert soon(lambda: node.exports._fills[node.blob.sha256].is_over)
    assert node.cache.path(node.blob.sha256) is None
    node.fetch()
    assert soon(lambda: node.domain["base_socket"] == "")


def test_old_traces_make_room(node, far, monkeypatch):
    monkeypatch.setattr(traces, "KEPT", 2)
    (node.state / "lazy").mkdir(parents=True)
    for number in range(3):
        old = node.state / "lazy" / f"{number}.trace"
        old.write_text("[]")
        os.utime(old, (number, number))
    node.fetch()
    node.start()
    node.exports.demand(node.blob).get(0, 1)
    far.gate.set()
    assert soon(lambda: node.noted == ["2.trace", f"{node.blob.sha256}.trace"])


def test_without_threads_it_comes_with_the_rhythm_of_the_node(node, far):
    node.again(inline=True)
    node.fetch()
    node.start()
    assert node.socket.is_socket()
    far.gate.set()
    node.exports.go_on()
    assert node.domain["base_socket"] == ""
    assert not node.socket.exists()


def test_notes_that_cannot_be_read_are_passed_over(node):
    node.fetch()
    (node.state / "lazy" / f"{'0' * 64}.json").write_text("{")
    (node.state / "lazy" / f"{node.blob.sha256}.trace").write_text("[")
    node.again()
    node.exports.go_on()
    assert node.noted == [f"{node.blob.sha256}.json", f"{node.blob.sha256}.trace"]


def test_the_trace_of_the_last_time_orders_the_next(node, far, monkeypatch):
    far.gate.set()
    (node.state / "lazy").mkdir(parents=True)
    (node.state / "lazy" / f"{node.blob.sha256}.trace").write_text("[59, 3, 20, 7, 8]")
    monkeypatch.setattr(demand, "UNTIL_READ_S", 5.0)
    node.fetch()
    assert soon(lambda: len(far.blocks) > 1)
    assert far.blocks[:2] == ["3,7,20,59", "8"]


def test_a_neighbour_tells_what_guests_read_first(node, far, monkeypatch):
    far.gate.set()
    asked = []

    class Near:
        def get(self, source, take, stopped):
            asked.append((source.url.rsplit("/", 1)[-1], source.headers["Authorization"]))
            if not source.url.endswith("/trace"):
                raise Refused("not_found", "These bytes are not here")
            take(b"[59, 3, 20, 7, 8, 9000]")

    monkeypatch.setitem(download.PROTOCOLS, "near", Near())
    monkeypatch.setattr(demand, "UNTIL_READ_S", 5.0)
    near = Neighbour(host="nc-00000002", url="near://x", ticket="near's")
    FetchImage().run(node.job, ImageFetch(
        image="img-00000001", ref=node.image, url="fake://boss", ticket="t", lazy=True, neighbours=(near,),
    ))
    assert soon(lambda: len(far.blocks) > 1)
    assert far.blocks[:2] == ["3,7,20,59", "8"]
    assert ("trace", "Ticket near's") in asked


@pytest.mark.parametrize("said", [
    b"{", b'{"0": 1}', b"[true]", b"1" * 70_000, b"[" * 60_000, Unavailable("transfer", "gone"), Refused("not_found", "none"),
])
def test_neighbours_that_tell_no_trace_are_passed_over(monkeypatch, said):
    class Near:
        def get(self, source, take, stopped):
            if "good" in source.url:
                take(b"[2, 1]")
            elif isinstance(said, Exception):
                raise said
            else:
                take(said)

    monkeypatch.setitem(download.PROTOCOLS, "near", Near())
    told = []
    traces.learn([Source("far://x", {}), Source("near://bad", {}), Source("near://good", {}), Source("near://good", {})], told.append, lambda: False)
    assert told == [[2, 1]]
    traces.learn([Source("near://good", {})], told.append, lambda: True)
    assert told == [[2, 1]]


def test_a_disk_is_pushed_only_when_its_image_is_here(node):
    node.fetch()
    node.start()
    node.stop()
    order = DiskPush(instance=ONE, draft=TASK, url="fake://boss", ticket="t")
    with pytest.raises(Unavailable, match="still comes"):
        PushDisk().run(node.job, order)


def test_neighbours_are_asked_too(node, far):
    far.gate.set()
    near = Neighbour(host="nc-00000002", url="fake://near", ticket="near's")
    FetchImage().run(node.job, ImageFetch(
        image="img-00000001", ref=node.image, url="fake://boss", ticket="t", lazy=True, neighbours=(near,),
    ))
    assert soon(lambda: node.cache.path(node.blob.sha256))
    assert [who for who, want in far.asked if want] == ["Ticket near's"]
