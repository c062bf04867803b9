"""Fetching: single flight, resume, digests, cancelling, and what stays behind."""

import errno
import hashlib
import multiprocessing
import os
import random
import threading
import time

import pytest

from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import download
from luhyaapi.transfer.blocks import BLOCK, Index, index_of
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.download import Patience
from luhyaapi.transfer.sparse import HoledFile, SparseFile
from tests.support.faulty_transfer import FaultyTransfer

SEEDS = random.Random(1)
CONTENT = SEEDS.randbytes(20 * BLOCK) + bytes(30 * BLOCK) + SEEDS.randbytes(5 * BLOCK) + b"the end"
URL = "fake://boss/blobs/x"
SHORT = Patience(total_s=0.6, idle_s=0.5)


def blob_of(path):
    content = path.read_bytes()
    return Blob(part="disk", sha256=hashlib.sha256(content).hexdigest(), index=index_of(path).name, size=len(content))


def spread(path, content):
    """Write a file with holes where zeros are."""
    with SparseFile(path) as file:
        file.write(content)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return spread(tmp_path_factory.mktemp("far") / "file", CONTENT)


@pytest.fixture(scope="module")
def blob(file):
    return blob_of(file)


@pytest.fixture
def cache(tmp_path):
    return BlobCache(tmp_path / "c", 100, 0)


@pytest.fixture
def far(monkeypatch, file):
    transfer = FaultyTransfer(file)
    monkeypatch.setitem(download.PROTOCOLS, "fake", transfer)
    return transfer


def left(cache):
    return sorted(p.name for p in (cache.folder / "parts").iterdir())


ALL = "0-19,50-55"


def test_it_arrives_and_a_second_time_moves_nothing(cache, far, blob):
    told = []
    path = fetch(cache, blob, URL, "t", on_progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (blob.size, blob.size)
    assert fetch(cache, blob, URL, "t") == path
    assert far.blocks == [ALL]
    assert left(cache) == []
    assert cache.index(blob.sha256).name == blob.index


def test_after_a_cut_it_goes_on_where_it_was(cache, far, blob):
    far.faults = [1100 * far.piece, 10, 0]
    assert fetch(cache, blob, URL, "t").read_bytes() == CONTENT
    assert far.blocks == [ALL, "16-19,50-55", "16-19,50-55", "16-19,50-55"]


@pytest.mark.walk
def test_no_block_that_came_is_asked_for_again(cache, far, blob, file):
    frame = len(next(far.frames("", range(16))))
    for cut in (0, 1, 11, 600, BLOCK + 600, 3 * BLOCK, frame - 1, frame, frame + 1, frame + 99):
        here = BlobCache(cache.folder / str(cut), 100, 0)
        far.faults, far.asked = [cut], []
        assert fetch(here, blob, URL, "t").read_bytes() == CONTENT
        here_already = min(max(cut - 12 - 16 * 32, 0) // BLOCK, 16)
        assert far.blocks == [ALL, f"{here_already}-19,50-55"]


@pytest.mark.parametrize(("half", "asked"), [
    (CONTENT[: 4 * BLOCK], ["4-19,50-55"]), (CONTENT[: 4 * BLOCK + 100], ["4-19,50-55"]), (CONTENT, []), (b"", [ALL]),
    (b"\1" + CONTENT[1 : 4 * BLOCK], ["0,4-19,50-55"]), (CONTENT + b"more", []), (CONTENT[: 21 * BLOCK] + b"no hole", ["50-55"]),
])
def test_what_is_right_in_a_half_file_is_kept(cache, far, blob, half, asked):
    cache.part(blob.sha256).write_bytes(half)
    assert fetch(cache, blob, URL, "t").read_bytes() == CONTENT
    assert far.blocks == asked


def test_a_cut_behind_the_last_block_costs_nothing(cache, far, blob):
    far.faults = [10**9]
    assert fetch(cache, blob, URL, "t").read_bytes() == CONTENT
    assert far.blocks == [ALL]


def test_only_what_differs_from_another_version_moves(cache, far, file, blob, tmp_path):
    fetch(cache, blob, URL, "t")
    far.asked.clear()
    newer = CONTENT[: 3 * BLOCK] + b"changed" + CONTENT[3 * BLOCK + 7 :] + b" and more"
    far.file = spread(tmp_path / "newer", newer)
    assert fetch(cache, blob_of(far.file), URL, "t").read_bytes() == newer
    assert far.blocks == ["3,55"]


def test_a_block_that_is_put_right_stays_right(cache, far, tmp_path):
    """Its like was found before it in a half file that holds something else in its place."""
    same, end = b"same" * (BLOCK // 4), b"end" * 1000
    far.file = spread(tmp_path / "like", same + same + end)
    blob = blob_of(far.file)
    cache.part(blob.sha256).write_bytes(same + b"else" * (BLOCK // 4))
    assert fetch(cache, blob, URL, "t").read_bytes() == same + same + end


def test_taking_from_other_versions_is_no_use_of_them(cache, far, file, blob, tmp_path):
    first = fetch(cache, blob, URL, "t")
    os.utime(first, (5, 5))
    far.file = spread(tmp_path / "newer", CONTENT + b"!")
    fetch(cache, blob_of(far.file), URL, "t")
    assert first.stat().st_mtime == 5
    assert cache.latest()[-1] == first


@pytest.mark.parametrize("trouble", ["evicted", "unreadable"])
def test_another_version_that_goes_meanwhile_is_done_without(cache, far, blob, tmp_path, trouble):
    first = fetch(cache, blob, URL, "t")
    far.file = spread(tmp_path / "newer", CONTENT + b"!")
    latest = cache.latest

    def gone():
        found = latest()
        first.unlink()
        if trouble == "unreadable":
            first.mkdir()
        return found

    cache.latest = gone
    assert fetch(cache, blob_of(far.file), URL, "t").read_bytes() == CONTENT + b"!"


def test_an_endless_index_is_not_taken_in(cache, far, blob, monkeypatch):
    sent = []

    def endless(_source, take, _stopped):
        while len(sent) < 10_000:
            sent.append(1)
            take(bytes(10_000))

    monkeypatch.setattr(far, "get", endless)
    with pytest.raises(Failed, match="larger"):
        fetch(cache, blob, URL, "t")
    assert len(sent) < 100


def test_blocks_that_moved_elsewhere_are_found(cache, far, blob, tmp_path):
    fetch(cache, blob, URL, "t")
    far.asked.clear()
    turned = bytes(7 * BLOCK) + CONTENT[50 * BLOCK : 55 * BLOCK] + CONTENT[: 20 * BLOCK] + CONTENT[: 2 * BLOCK]
    far.file = spread(tmp_path / "turned", turned)
    assert fetch(cache, blob_of(far.file), URL, "t").read_bytes() == turned
    assert far.blocks == []


def test_a_version_that_rotted_here_is_not_taken_from(cache, far, file, blob, tmp_path):
    path = fetch(cache, blob, URL, "t")
    path.chmod(0o600)
    rotten = bytearray(CONTENT)
    rotten[5 * BLOCK + 9] ^= 1
    path.write_bytes(rotten)
    far.asked.clear()
    newer = CONTENT + b"!"
    far.file = spread(tmp_path / "newer", newer)
    assert fetch(cache, blob_of(far.file), URL, "t").read_bytes() == newer
    assert far.blocks == ["5,55"]


def test_the_same_block_in_many_places_comes_once(cache, far, tmp_path):
    content = (b"a" * BLOCK + b"b" * BLOCK) * 40
    far.file = spread(tmp_path / "same", content)
    assert fetch(cache, blob_of(far.file), URL, "t").read_bytes() == content
    assert far.blocks == ["0-1"]


def test_many_scattered_blocks_are_asked_for_in_several_requests(cache, far, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_ASK_AT_MOST", 40)
    content = b"".join(bytes(BLOCK) + number.to_bytes(2, "big") * (BLOCK // 2) for number in range(1, 60))
    far.file = spread(tmp_path / "scattered", content)
    assert fetch(cache, blob_of(far.file), URL, "t").read_bytes() == content
    assert len(far.blocks) > 3
    assert all(len(want) <= 40 for want in far.blocks)


@pytest.mark.parametrize("fault", ["none", "flip", "less"])
def test_a_sender_that_does_not_send_what_it_should(cache, far, blob, fault):
    far.faults = [fault]
    if fault != "flip":
        assert fetch(cache, blob, URL, "t").read_bytes() == CONTENT
        return
    with pytest.raises(Failed) as e:
        fetch(cache, blob, URL, "t")
    assert e.value.code == "digest"
    assert cache.sha256s() == []
    assert left(cache) == []


def test_another_image_is_found_out(cache, far, blob, tmp_path):
    far.file = spread(tmp_path / "other", CONTENT[:100] + b"?" + CONTENT[101:])
    with pytest.raises(Failed, match="Another index"):
        fetch(cache, blob, URL, "t")
    assert far.blocks == []
    assert left(cache) == []


def test_nobody_there_ends_in_time_and_keeps_the_half_file(cache, far, blob):
    far.faults = [10_000] + [Unavailable("transfer", "gone", "no route")] * 99
    with pytest.raises(Unavailable) as e:
        fetch(cache, blob, URL, "t", patience=SHORT)
    assert e.value.code == "transfer"
    assert e.value.why == "no route"
    assert left(cache) == [f"{blob.sha256}.part"]
    far.faults = []
    fetch(cache, blob, URL, "t")
    assert far.blocks[-1] == ALL


def test_a_refusal_is_final_and_leaves_nothing(cache, far, blob):
    far.faults = [10_000, Refused("forbidden", "no")]
    with pytest.raises(Refused) as e:
        fetch(cache, blob, URL, "t")
    assert e.value.code == "forbidden"
    assert left(cache) == []


def test_cancelling_stops_and_leaves_nothing(cache, far, blob):
    far.gate = threading.Event()
    with pytest.raises(Refused) as e:
        fetch(cache, blob, URL, "t", cancelled=lambda: bool(far.blocks))
    assert e.value.code == "cancelled"
    assert left(cache) == []


def test_a_full_disk_says_so_and_leaves_nothing(cache, far, blob, monkeypatch):
    def full(*_given):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(HoledFile, "put", full)
    with pytest.raises(Failed) as e:
        fetch(cache, blob, URL, "t")
    assert e.value.code == "disk_full"
    assert left(cache) == []


def test_no_room_is_found_before_a_block_moves(tmp_path, far, blob):
    cache = BlobCache(tmp_path / "small", 0, 0)
    with pytest.raises(Failed) as e:
        fetch(cache, blob, URL, "t")
    assert e.value.code == "disk_full"
    assert far.blocks == []


@pytest.mark.parametrize("url", ["ftp://x/y", "", "gopher:x", "/etc/passwd"])
def test_an_unknown_way_is_refused(cache, url, blob):
    with pytest.raises(Refused, match="no way"):
        fetch(cache, blob, url, "t")


def test_an_empty_blob(cache, far, blob):
    empty = Blob(part="disk", sha256=hashlib.sha256(b"").hexdigest(), index=Index(0, b"").name, size=0)
    assert fetch(cache, empty, URL, "t").read_bytes() == b""
    assert far.asked == []


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


def test_many_waiters_one_download(cache, far, blob):
    far.gate = threading.Event()
    threads, results = in_threads(10, lambda i: fetch(cache, blob, URL, f"t{i}"))
    time.sleep(0.1)
    far.gate.set()
    for thread in threads:
        thread.join(5)
    assert set(results) == {cache.path(blob.sha256)}
    assert far.blocks == [ALL]


def test_one_waiter_may_leave_the_others_still_get_it(cache, far, blob):
    far.gate = threading.Event()
    threads, results = in_threads(3, lambda i: fetch(cache, blob, URL, "t", cancelled=lambda: i == 0))
    threads[0].join(5)
    assert results[0].code == "cancelled"
    far.gate.set()
    for thread in threads:
        thread.join(5)
    assert results[1] == results[2] == cache.path(blob.sha256)
    assert far.blocks == [ALL]


def test_everybody_hears_of_the_failure(cache, far, blob):
    far.gate = threading.Event()
    far.faults = ["flip"]
    threads, results = in_threads(3, lambda i: fetch(cache, blob, URL, "t"))
    time.sleep(0.1)
    far.gate.set()
    for thread in threads:
        thread.join(5)
    assert [r.code for r in results] == ["digest"] * 3


def test_one_expired_ticket_does_not_end_the_download_of_others(cache, far, blob):
    cut = threading.Event()

    far.gate, far.faults = cut, [10, Refused("expired", "too old")]
    threads, results = in_threads(2, lambda i: fetch(cache, blob, URL, f"t{i}"))
    time.sleep(0.15)
    cut.set()
    for thread in threads:
        thread.join(5)
    assert results == [cache.path(blob.sha256)] * 2
    assert len({ticket for ticket, want in far.asked if want}) == 2


def _fetch_slowly(folder, blob, file, entered, go):
    far = FaultyTransfer(file)
    far.gate = go
    entered.set()
    download.PROTOCOLS["fake"] = far
    fetch(BlobCache(folder, 100, 0), blob, URL, "t")


def test_among_processes_one_downloads_and_the_other_waits(cache, far, blob):
    context = multiprocessing.get_context("fork")
    entered, go = context.Event(), context.Event()
    other = context.Process(target=_fetch_slowly, args=(cache.folder, blob, far.file, entered, go))
    other.start()
    entered.wait(5)
    while not left(cache):
        time.sleep(0.01)
    threads, results = in_threads(1, lambda _i: fetch(cache, blob, URL, "t"))
    time.sleep(0.2)
    go.set()
    threads[0].join(5)
    other.join(5)
    assert results == [cache.path(blob.sha256)]
    assert far.blocks == []
    assert left(cache) == []


def test_when_the_downloading_process_is_killed_another_goes_on(cache, far, blob):
    context = multiprocessing.get_context("fork")
    entered, go = context.Event(), context.Event()
    other = context.Process(target=_fetch_slowly, args=(cache.folder, blob, far.file, entered, go))
    other.start()
    entered.wait(5)
    while not left(cache):
        time.sleep(0.01)
    threads, results = in_threads(1, lambda _i: fetch(cache, blob, URL, "t"))
    time.sleep(0.1)
    other.kill()
    other.join(5)
    threads[0].join(5)
    assert results == [cache.path(blob.sha256)]
    assert left(cache) == []


def test_holes_survive_the_way(cache, far, tmp_path):
    far.file = spread(tmp_path / "holes", bytes(8 * 1024 * 1024) + b"end")
    path = fetch(cache, blob_of(far.file), URL, "t")
    assert path.read_bytes() == far.file.read_bytes()
    assert path.stat().st_blocks * 512 < 1024 * 1024
