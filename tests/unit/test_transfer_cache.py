"""The content-addressed store: names, pins, eviction, quota, half files, two processes."""

import contextlib
import hashlib
import multiprocessing
import os
import shutil

import pytest

from luhyaapi import clock
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.sparse import SparseFile

MIB = 1024 * 1024


def put(cache, content):
    sha256 = hashlib.sha256(content).hexdigest()
    part = cache.part(sha256)
    part.write_bytes(content)
    cache.adopt(part, sha256)
    return sha256


@pytest.fixture
def manual():
    clock_ = clock.ManualClock()
    before = clock.use(clock_)
    yield clock_
    clock.use(before)


@pytest.fixture
def cache(tmp_path):
    return BlobCache(tmp_path / "c", quota_mib=3, keep_free_mib=0)


def test_adopted_content_has_its_name_and_no_half_file(cache):
    sha256 = put(cache, b"abc")
    assert cache.path(sha256) == cache.folder / "blobs" / sha256[:2] / sha256
    assert cache.sha256s() == [sha256]
    assert list((cache.folder / "parts").iterdir()) == []


def test_the_same_content_twice_is_kept_once(cache):
    assert put(cache, b"abc") == put(cache, b"abc")
    assert len(cache.sha256s()) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 64 + "/x", "\0" * 64, "a" * 64 + "\n"])
def test_what_is_no_digest_is_refused_everywhere(cache, name):
    for act in (cache.path, cache.part, cache.remove, lambda n: cache.pin(n, "ins-00000000")):
        with pytest.raises(Refused) as e:
            act(name)
        assert e.value.code == "invalid"


@pytest.mark.parametrize("owner", ["../x", "", ".", "a/b", "x" * 65, "a\n"])
def test_what_cannot_own_a_pin_is_refused(cache, owner):
    with pytest.raises(Refused, match="cannot own"):
        cache.pin("a" * 64, owner)


def test_the_longest_unused_goes_first_and_never_a_pinned_one(cache, manual):
    first = put(cache, os.urandom(MIB))
    manual.sleep(10)
    second = put(cache, os.urandom(MIB))
    manual.sleep(10)
    third = put(cache, os.urandom(MIB))
    manual.sleep(10)
    assert cache.path(first)
    cache.pin(second, "ins-00000001")
    cache.room(MIB)
    assert sorted(cache.sha256s()) == sorted([first, second])
    cache.room(MIB)
    assert third not in cache.sha256s()
    with pytest.raises(Failed) as e:
        cache.room(3 * MIB)
    assert e.value.code == "disk_full"
    assert cache.sha256s() == [second]


def test_free_space_is_kept(tmp_path):
    free_mib = shutil.disk_usage(tmp_path).free // MIB
    cache = BlobCache(tmp_path / "c", quota_mib=10**9, keep_free_mib=free_mib + 1000)
    with pytest.raises(Failed, match="no room"):
        cache.room(1)


def test_a_pinned_one_is_not_removed_until_its_owner_lets_go(cache):
    sha256 = put(cache, b"abc")
    cache.pin(sha256, "ins-00000001")
    cache.pin(sha256, "ins-00000001")
    assert cache.pins() == {sha256: {"ins-00000001"}}
    with pytest.raises(Refused, match="in use"):
        cache.remove(sha256)
    cache.unpin(sha256, "ins-00000001")
    cache.unpin(sha256, "ins-00000001")
    assert cache.pins() == {}
    assert cache.remove(sha256) is True
    assert cache.remove(sha256) is False
    assert cache.path(sha256) is None


def test_only_one_fetches_and_the_lock_leaves_nothing(cache):
    with cache.fetching("a" * 64) as ours:
        assert ours
        with cache.fetching("a" * 64) as second:
            assert not second
        assert (cache.folder / "parts" / ("a" * 64 + ".lock")).read_text() == f"{os.getpid()}\n"
    with cache.fetching("a" * 64) as again:
        assert again
    assert list((cache.folder / "parts").iterdir()) == []


def test_old_half_files_are_swept_and_young_or_growing_ones_stay(cache, manual):
    for name in ("a", "b", "c"):
        cache.part(name * 64).write_bytes(b"x")
        os.utime(cache.part(name * 64), (manual.now(), manual.now()))
    manual.sleep(100)
    os.utime(cache.part("b" * 64), (manual.now(), manual.now()))
    with cache.fetching("c" * 64):
        assert cache.sweep(50) == 1
    assert not cache.part("a" * 64).exists()
    assert cache.part("b" * 64).exists()
    assert cache.part("c" * 64).exists()


def _race(folder, content):
    cache = BlobCache(folder, 100, 0)
    sha256 = hashlib.sha256(content).hexdigest()
    for _ in range(20):
        own = cache.folder / f"{os.getpid()}.tmp"
        own.write_bytes(content)
        cache.adopt(own, sha256)
        cache.pin(sha256, f"ins-{os.getpid()}")
        cache.unpin(sha256, f"ins-{os.getpid()}")
        with contextlib.suppress(Refused):
            cache.remove(sha256)


def test_two_processes_do_not_disturb_each_other(cache):
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_race, args=(cache.folder, b"same")) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(10)
    assert [racer.exitcode for racer in racers] == [0, 0]


@pytest.mark.parametrize("pieces", [
    [bytes(300_000)], [b"a" + bytes(200_000), bytes(70_000) + b"z"], [bytes(65536)] * 3 + [b"end"], [b"", b"x", b""], [b"a" * 65536 + bytes(65536)],
])
def test_a_sparse_file_holds_exactly_what_was_written(tmp_path, pieces):
    with SparseFile(tmp_path / "f") as file:
        for piece in pieces:
            file.write(piece)
        assert file.position == len(b"".join(pieces))
    assert (tmp_path / "f").read_bytes() == b"".join(pieces)


def test_zeros_take_no_space(tmp_path):
    with SparseFile(tmp_path / "f") as file:
        for _ in range(16):
            file.write(bytes(MIB))
        file.write(b"end")
    assert (tmp_path / "f").stat().st_size == 16 * MIB + 3
    assert (tmp_path / "f").stat().st_blocks * 512 < MIB


def test_opening_at_a_position_cuts_off_what_lies_behind(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    with SparseFile(tmp_path / "f", 4) as file:
        file.write(b"xy")
    assert (tmp_path / "f").read_bytes() == b"0123xy"


def test_a_hole_can_be_left(tmp_path):
    with SparseFile(tmp_path / "f") as file:
        file.write(b"begin")
        file.skip(3 * MIB)
        file.write(b"end")
        assert file.position == 3 * MIB + 8
        file.skip(1)
    assert (tmp_path / "f").read_bytes() == b"begin" + bytes(3 * MIB) + b"end\0"
    assert (tmp_path / "f").stat().st_blocks * 512 < MIB


def test_a_pin_for_a_time_ends_by_itself(cache, tmp_path, manual):
    one, pins, until = "a" * 64, tmp_path / "c" / "pins", int(manual.now()) + 600
    cache.pin(one, "tsk-1", until + 0.4)
    cache.pin(one, "ins-1")
    assert cache.pins() == {one: {f"tsk-1.until-{until}", "ins-1"}}
    clock.sleep(600)
    assert cache.pins() == {one: {"ins-1"}}, "the moment it is over"
    cache.unpin(one, "ins-1")
    assert cache.pins() == {}
    assert list(pins.iterdir())
    cache.sweep(60)
    assert not list(pins.iterdir())
    cache.pin(one, "tsk-1", until + 900)
    cache.unpin(one, "tsk-1", until + 900)
    assert not list(pins.iterdir())
