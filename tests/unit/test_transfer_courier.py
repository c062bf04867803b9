"""Fetching: single flight, resume, digests, cancelling, and what stays behind."""

import errno
import hashlib
import multiprocessing
import os
import threading
import time

import pytest

from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import download
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.download import Patience
from luhyaapi.transfer.sparse import SparseFile
from tests.support.faulty_transfer import FaultyTransfer

CONTENT = os.urandom(50_000) + bytes(200_000) + os.urandom(7)
BLOB = Blob(part="disk", sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT))
URL = "fake://boss/blob"
SHORT = Patience(total_s=0.6, idle_s=0.5)


@pytest.fixture
def cache(tmp_path):
    return BlobCache(tmp_path / "c", 100, 0)


@pytest.fixture
def far(monkeypatch):
    transfer = FaultyTransfer(CONTENT)
    monkeypatch.setitem(download.PROTOCOLS, "fake", transfer)
    return transfer


def left(cache):
    return sorted(p.name for p in (cache.folder / "parts").iterdir())


def test_it_arrives_and_a_second_time_moves_nothing(cache, far):
    told = []
    path = fetch(cache, BLOB, URL, "t", on_progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (BLOB.size, BLOB.size)
    assert fetch(cache, BLOB, URL, "t") == path
    assert far.sent == BLOB.size
    assert left(cache) == []


def test_after_a_cut_it_goes_on_where_it_was(cache, far):
    far.faults = [10_000, 20_000]
    assert fetch(cache, BLOB, URL, "t").read_bytes() == CONTENT
    assert [start for _, start in far.gets] == [0, 10_000, 30_000]
    assert far.sent == BLOB.size


def test_a_half_file_of_a_dead_process_is_taken_over(cache, far):
    cache.part(BLOB.sha256).write_bytes(CONTENT[:60_000])
    assert fetch(cache, BLOB, URL, "t").read_bytes() == CONTENT
    assert [start for _, start in far.gets] == [60_000]


@pytest.mark.parametrize("half", [b"\1" + CONTENT[1:60_000], CONTENT + b"more"])
def test_a_damaged_half_file_costs_one_download_not_the_image(cache, far, half):
    cache.part(BLOB.sha256).write_bytes(half)
    assert fetch(cache, BLOB, URL, "t").read_bytes() == CONTENT


def test_a_complete_half_file_needs_no_bytes(cache, far):
    cache.part(BLOB.sha256).write_bytes(CONTENT)
    assert fetch(cache, BLOB, URL, "t").read_bytes() == CONTENT
    assert far.sent == 0


def test_a_sender_without_ranges_works(cache, far):
    far.faults = [10_000, "whole"]
    assert fetch(cache, BLOB, URL, "t").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["lie", "more", "elsewhere"])
def test_a_lying_sender_is_found_out(cache, far, fault):
    far.faults = [fault]
    with pytest.raises(Failed) as e:
        fetch(cache, BLOB, URL, "t")
    assert e.value.code == "digest"
    assert cache.sha256s() == []
    assert left(cache) == []


def test_a_flipped_bit_is_found_out(cache, far):
    far.content = CONTENT[:100] + bytes([CONTENT[100] ^ 1]) + CONTENT[101:]
    with pytest.raises(Failed, match="sha256"):
        fetch(cache, BLOB, URL, "t")
    assert cache.sha256s() == []
    assert left(cache) == []


def test_nobody_there_ends_in_time_and_keeps_the_half_file(cache, far):
    far.faults = [10_000] + [Unavailable("transfer", "gone", "no route")] * 99
    with pytest.raises(Unavailable) as e:
        fetch(cache, BLOB, URL, "t", patience=SHORT)
    assert e.value.code == "transfer"
    assert e.value.why == "no route"
    assert left(cache) == [f"{BLOB.sha256}.part"]
    far.faults = []
    fetch(cache, BLOB, URL, "t")
    assert far.gets[-1][1] == 10_000


def test_a_refusal_is_final_and_leaves_nothing(cache, far):
    far.faults = [10_000, Refused("forbidden", "no")]
    with pytest.raises(Refused) as e:
        fetch(cache, BLOB, URL, "t")
    assert e.value.code == "forbidden"
    assert left(cache) == []


def test_cancelling_stops_and_leaves_nothing(cache, far):
    far.gate = threading.Event()
    with pytest.raises(Refused) as e:
        fetch(cache, BLOB, URL, "t", cancelled=lambda: bool(far.gets))
    assert e.value.code == "cancelled"
    assert left(cache) == []


def test_a_full_disk_says_so_and_leaves_nothing(cache, far, monkeypatch):
    def full(_self, _data):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(SparseFile, "write", full)
    with pytest.raises(Failed) as e:
        fetch(cache, BLOB, URL, "t")
    assert e.value.code == "disk_full"
    assert left(cache) == []


def test_no_room_is_found_before_a_byte_moves(tmp_path, far):
    cache = BlobCache(tmp_path / "small", 0, 0)
    with pytest.raises(Failed) as e:
        fetch(cache, BLOB, URL, "t")
    assert e.value.code == "disk_full"
    assert far.gets == []


@pytest.mark.parametrize("url", ["ftp://x/y", "", "gopher:x", "/etc/passwd"])
def test_an_unknown_way_is_refused(cache, url):
    with pytest.raises(Refused, match="no way"):
        fetch(cache, BLOB, url, "t")


def test_an_empty_blob(cache, far):
    empty = Blob(part="disk", sha256=hashlib.sha256(b"").hexdigest(), size=0)
    assert fetch(cache, empty, URL, "t").read_bytes() == b""
    assert far.gets == []


def in_threads(count, act):
    results = [None] * count

    def run(i):
        try:
            results[i] = act(i)
        except Exception as e:
            results[i] = e
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def test_many_waiters_one_download(cache, far):
    far.gate = threading.Event()
    threads, results = in_threads(10, lambda i: fetch(cache, BLOB, URL, f"t{i}"))
    time.sleep(0.1)
    far.gate.set()
    for thread in threads:
        thread.join(5)
    assert set(results) == {cache.path(BLOB.sha256)}
    assert len(far.gets) == 1


def test_one_waiter_may_leave_the_others_still_get_it(cache, far):
    far.gate = threading.Event()
    threads, results = in_threads(3, lambda i: fetch(cache, BLOB, URL, "t", cancelled=lambda: i == 0))
    threads[0].join(5)
    assert results[0].code == "cancelled"
    far.gate.set()
    for thread in threads:
        thread.join(5)
    assert results[1] == results[2] == cache.path(BLOB.sha256)
    assert len(far.gets) == 1


def test_everybody_hears_of_the_failure(cache, far):
    far.gate = threading.Event()
    far.content = CONTENT[:-1] + b"?"
    threads, results = in_threads(3, lambda i: fetch(cache, BLOB, URL, "t"))
    time.sleep(0.1)
    far.gate.set()
    for thread in threads:
        thread.join(5)
    assert [r.code for r in results] == ["digest"] * 3


def test_one_expired_ticket_does_not_end_the_download_of_others(cache, far):
    cut = threading.Event()

    far.gate, far.faults = cut, [10, Refused("expired", "too old")]
    threads, results = in_threads(2, lambda i: fetch(cache, BLOB, URL, f"t{i}"))
    time.sleep(0.15)
    cut.set()
    for thread in threads:
        thread.join(5)
    assert results == [cache.path(BLOB.sha256)] * 2
    assert len({ticket for ticket, _ in far.gets}) == 2


def _fetch_slowly(folder, entered, go):
    far = FaultyTransfer(CONTENT)
    far.gate = go
    entered.set()
    download.PROTOCOLS["fake"] = far
    fetch(BlobCache(folder, 100, 0), BLOB, URL, "t")


def test_among_processes_one_downloads_and_the_other_waits(cache, far):
    context = multiprocessing.get_context("fork")
    entered, go = context.Event(), context.Event()
    other = context.Process(target=_fetch_slowly, args=(cache.folder, entered, go))
    other.start()
    entered.wait(5)
    while not left(cache):
        time.sleep(0.01)
    threads, results = in_threads(1, lambda _i: fetch(cache, BLOB, URL, "t"))
    time.sleep(0.2)
    go.set()
    threads[0].join(5)
    other.join(5)
    assert results == [cache.path(BLOB.sha256)]
    assert far.gets == []
    assert left(cache) == []


def test_when_the_downloading_process_is_killed_another_goes_on(cache, far):
    context = multiprocessing.get_context("fork")
    entered, go = context.Event(), context.Event()
    other = context.Process(target=_fetch_slowly, args=(cache.folder, entered, go))
    other.start()
    entered.wait(5)
    while not left(cache):
        time.sleep(0.01)
    threads, results = in_threads(1, lambda _i: fetch(cache, BLOB, URL, "t"))
    time.sleep(0.1)
    other.kill()
    other.join(5)
    threads[0].join(5)
    assert results == [cache.path(BLOB.sha256)]
    assert left(cache) == []


def test_holes_survive_the_way(cache, far):
    far.content = bytes(8 * 1024 * 1024) + b"end"
    far.piece = 1024 * 1024
    blob = Blob(part="disk", sha256=hashlib.sha256(far.content).hexdigest(), size=len(far.content))
    path = fetch(cache, blob, URL, "t")
    assert path.stat().st_size == blob.size
    assert path.stat().st_blocks * 512 < 1024 * 1024
