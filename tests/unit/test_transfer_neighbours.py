"""Neighbours: taken from before the last resort, in a row while they still fetch, and left when they die, lie or are slow."""

from __future__ import annotations

import functools
import hashlib
import math
import random
import threading
import time

import pytest

from luhyaapi import clock
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import download, frames, growing
from luhyaapi.transfer.base import Source
from luhyaapi.transfer.blocks import BLOCK, index_of
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.download import Patience
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.transfer.pace import Pace
from tests.support.faulty_transfer import Uplink

BLOCKS = 64
CONTENT = random.Random(7).randbytes(BLOCKS * BLOCK)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHORT = Patience(total_s=2, idle_s=1)


class Row:
    """Hosts by name, each with a cache and an uplink; ``boss`` has the file."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._patch = folder, monkeypatch
        self.caches, self.lines = {}, {}
        self.host("boss", CONTENT)
        self.blob = Blob(part="disk", sha256=SHA256, index=self.caches["boss"].index(SHA256).name, size=len(CONTENT))

    def host(self, name, content=b"", patience_s=0.0, **more):
        cache = self.caches[name] = BlobCache(self._folder / name, 1000, 0)
        if content:
            cache.part(SHA256).write_bytes(content)
            cache.adopt(cache.part(SHA256), SHA256)
        self.lines[name] = Uplink(CacheGiver(cache, patience_s), **more)
        self._patch.setitem(download.PROTOCOLS, name, self.lines[name])
        return self.lines[name]

    def fetch(self, name, *neighbours, last="boss", **more):
        return fetch(self.caches[name], self.blob, f"{last}://x/blobs/{SHA256}", "t", neighbours=[source(n) for n in neighbours], **more)

    def together(self, chain, **more):
        """Each takes from the two before it, until all have it."""
        trouble = []

        def one(n):
            try:
                self.fetch(chain[n], *reversed(chain[max(n - 2, 0) : n]), **more)
            except Exception as e:
                trouble.append(e)

        threads = [threading.Thread(target=one, args=(n,)) for n in range(len(chain))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert trouble == []
        for name in chain:
            assert self.caches[name].path(SHA256).read_bytes() == CONTENT, name
            assert list((self.caches[name].folder / "parts").iterdir()) == []


def has(cache):
    return cache.path(SHA256) is not None


def source(name):
    return Source(f"{name}://x/blobs/{SHA256}", {"Authorization": "Ticket n"})


@pytest.fixture
def row(tmp_path, monkeypatch):
    made = Row(tmp_path, monkeypatch)
    made.host("me")
    return made


def test_a_neighbour_is_taken_from_and_the_boss_gives_the_index_alone(row):
    near = row.host("near", CONTENT)
    assert row.fetch("me", "near").read_bytes() == CONTENT
    assert row.lines["boss"].asked == [""]
    assert near.asked == [f"0-{BLOCKS - 1}"]


def test_without_the_boss_neighbours_are_enough(row):
    row.lines["boss"].dead = True
    row.host("near", CONTENT)
    assert row.fetch("me", "near", patience=SHORT).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["empty", "dead", "dies", "unknown"])
def test_a_neighbour_that_cannot_is_left(row, kind):
    near = row.host("near", b"" if kind == "empty" else CONTENT, dead=kind == "dead", dies_at=20 * BLOCK if kind == "dies" else -1)
    assert row.fetch("me", "nowhere" if kind == "unknown" else "near").read_bytes() == CONTENT
    assert row.lines["boss"].sent < (1.02 * len(CONTENT) if kind != "dies" else 0.75 * len(CONTENT))
    assert near.sent < 22 * BLOCK


def test_a_neighbour_that_lies_is_asked_no_more(row):
    near = row.host("near", CONTENT)

    class Liar(CacheGiver):
        def frames(self, sha256, wanted):
            for frame in super().frames(sha256, wanted):
                yield frame[:-1] + bytes([frame[-1] ^ 1])

    near.giver = Liar(row.caches["near"])
    assert row.fetch("me", "near").read_bytes() == CONTENT
    assert len(near.asked) == 1


def test_a_boss_that_lies_ends_it(row):
    row.host("near")

    class Liar(CacheGiver):
        def frames(self, sha256, wanted):
            return (frame[:-1] + bytes([frame[-1] ^ 1]) for frame in super().frames(sha256, wanted))

    row.lines["boss"].giver = Liar(row.caches["boss"])
    with pytest.raises(Failed):
        row.fetch("me", "near")


def test_a_boss_that_refuses_does_not_keep_one_from_neighbours(row):
    near = row.host("near", CONTENT, dies_at=30 * BLOCK)

    class Closed(CacheGiver):
        def frames(self, _sha256, _wanted):
            near.dead, near.dies_at = False, -1
            raise Refused("expired", "The ticket has expired")

    row.lines["boss"].giver = Closed(row.caches["boss"])
    assert row.fetch("me", "near", patience=SHORT).read_bytes() == CONTENT


def test_nobody_who_has_it_ends_in_time(row):
    row.lines["boss"].giver = CacheGiver(row.caches["me"])
    row.host("near")
    with pytest.raises(Refused) as refused:
        row.fetch("me", "near", patience=Patience(total_s=0.6, idle_s=0.5))
    assert refused.value.code == "not_found", "what the last resort said"
    row.lines["boss"].dead = True
    with pytest.raises(Unavailable):
        row.fetch("me", "near", patience=Patience(total_s=0.6, idle_s=0.5))


def test_who_waits_for_ever_waits_for_a_last_resort_that_has_it_not_yet(row):
    late = row.host("late")
    row.host("dead")
    row.lines["dead"].giver = CacheGiver(row.caches["dead"])
    row.host("me")
    ever = Patience(math.inf, math.inf, hopes=True)
    bringing = threading.Thread(target=lambda: row.fetch("me", "dead", last="late", patience=ever))
    bringing.start()
    time.sleep(0.3)
    assert late.asked, "it said that it has nothing"
    row.caches["late"].part(SHA256).write_bytes(CONTENT)
    row.caches["late"].adopt(row.caches["late"].part(SHA256), SHA256)
    bringing.join(20)
    assert row.caches["me"].path(SHA256).read_bytes() == CONTENT


def test_a_neighbour_that_stalls_is_left(row, monkeypatch):
    monkeypatch.setattr(download, "_SLOW_S", 0.2)
    near = row.host("near", CONTENT, stalls_at=10 * BLOCK)
    assert row.fetch("me", "near").read_bytes() == CONTENT
    assert near.sent <= 11 * BLOCK
    assert row.lines["boss"].sent < 0.9 * len(CONTENT)


def test_of_the_boss_little_is_asked_while_neighbours_may_come_back(row, monkeypatch):
    monkeypatch.setattr(download, "_OF_THE_LAST", 4)
    near = row.host("near", CONTENT, dies_at=10 * BLOCK)
    boss = row.lines["boss"]
    real = boss.giver.frames

    def heal(sha256, wanted):
        near.dead, near.dies_at = False, -1
        clock.sleep(0.25)
        return real(sha256, wanted)

    boss.giver.frames = heal
    assert row.fetch("me", "near").read_bytes() == CONTENT
    assert boss.sent < 14 * BLOCK


def test_who_still_fetches_passes_on_what_came(row):
    """The one in front has half of it, from a source that holds back the rest; who takes from it has that half soon."""
    gate = threading.Event()
    middle = row.host("middle", patience_s=5)
    boss = row.lines["boss"]

    class Slow(CacheGiver):
        def frames(self, sha256, wanted):
            for n, frame in enumerate(super().frames(sha256, wanted)):
                if n == 2:
                    gate.wait(10)
                yield frame

    boss.giver = Slow(row.caches["boss"])
    first = threading.Thread(target=row.fetch, args=("middle",))
    first.start()
    told = []
    row.host("store", CONTENT)

    def watch(done, _total):
        told.append(done)
        if done >= 32 * BLOCK:
            gate.set()

    second = threading.Thread(target=lambda: row.fetch("me", "middle", last="store", on_progress=watch))
    second.start()
    second.join(20)
    first.join(20)
    assert gate.is_set()
    assert any(32 * BLOCK <= done < BLOCKS * BLOCK for done in told), "it had the first half while the middle one had no more"
    assert middle.asked == [f"0-{BLOCKS - 1}"]
    assert row.lines["store"].asked == [""]


def test_an_answer_ends_when_nothing_comes(tmp_path):
    part = tmp_path / "part"
    part.write_bytes(CONTENT)
    half = growing.begin(tmp_path, SHA256, part, index_of(part))
    half.add([3, 4])
    begun = time.monotonic()
    assert len(list(half.frames(range(10), 0.1))) == 1
    assert 0.1 <= time.monotonic() - begun < 20
    growing.end(tmp_path, SHA256, half)
    assert list(half.frames(range(10), 5)) == []
    assert growing.of(tmp_path, SHA256) is None
    half.end()


def test_a_frame_that_just_came_is_passed_on_as_it_is(tmp_path, monkeypatch):
    part = tmp_path / "part"
    part.write_bytes(CONTENT)
    index = index_of(part)
    half = growing.begin(tmp_path, SHA256, part, index)
    frame = frames.pack(list(index)[:16], CONTENT[: 16 * BLOCK], level=9)
    half.add(range(16), frame)
    half.add(range(16, 20))
    assert next(iter(half.frames(range(20), 0.1))) == frame
    assert blocks_in(half.frames(range(20), 0.1)) == [16, 4]
    assert blocks_in(half.frames(range(4, 20), 0.1)) == [16, 4], "it is passed on though a fourth of it was not asked for"
    assert blocks_in(half.frames(range(8), 0.1)) == [4, 4], "of little of it a frame of its own is made"
    monkeypatch.setattr(growing, "_KEPT", len(frame))
    half.add(range(20, 22), frame[:-1])
    assert frame not in list(half.frames(range(20), 0.1)), "it came too long ago"
    growing.end(tmp_path, SHA256, half)


def test_what_lies_in_several_places_is_passed_on_too(tmp_path):
    part = tmp_path / "part"
    part.write_bytes(CONTENT[: 2 * BLOCK] * 2)
    index = index_of(part)
    half = growing.begin(tmp_path, SHA256, part, index)
    frame = frames.pack(list(index)[:2], CONTENT[: 2 * BLOCK], level=9)
    half.add(range(4), frame)
    assert list(half.frames(range(2), 0.1)) == [frame]
    growing.end(tmp_path, SHA256, half)


def blocks_in(given):
    return [len(frames.unpack(frame)) for frame in given]


NODES = [f"node{n}" for n in range(8)]


def _spread(row, rate, **more):
    row.lines["boss"].rate = rate
    for name in NODES:
        row.host(name, rate=rate, patience_s=3, **more)


@pytest.mark.walk
def test_eight_in_a_row_pass_on_what_they_do_not_have_whole(row):
    rate = 6e6
    _spread(row, rate)
    for name in NODES:
        row.lines[name].whole = functools.partial(has, row.caches[name])
    row.together(NODES)
    assert row.lines["boss"].sent / len(CONTENT) < 1.2, "copies"
    early = [name for name in NODES if row.lines[name].early > len(CONTENT) / 8]
    assert len(early) > len(NODES) / 2, {name: row.lines[name].early / len(CONTENT) for name in NODES}


@pytest.mark.walk
def test_a_member_that_dies_only_delays_those_behind_it(row):
    _spread(row, 8e6)
    row.lines["node3"].dies_at = 20 * BLOCK
    row.together(NODES)
    assert row.lines["boss"].sent < 2 * len(CONTENT)
    assert row.lines["node2"].sent > 1.2 * len(CONTENT), "who took from the dead one takes from the one before it"


@pytest.mark.walk
def test_all_downloads_together_keep_the_pace(row, tmp_path):
    other = random.Random(8).randbytes(len(CONTENT))
    name = hashlib.sha256(other).hexdigest()
    boss = row.caches["boss"]
    boss.part(name).write_bytes(other)
    boss.adopt(boss.part(name), name)
    blobs = [row.blob, Blob(part="disk", sha256=name, index=boss.index(name).name, size=len(other))]
    row.caches["me"] = BlobCache(tmp_path / "paced", 1000, 0, take_mbit=80)
    begun = time.monotonic()
    threads = [threading.Thread(target=fetch, args=(row.caches["me"], b, f"boss://x/blobs/{b.sha256}", "t")) for b in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(row.caches["me"].sha256s()) == 2
    assert time.monotonic() - begun > 0.9 * 2 * len(CONTENT) / 10e6, "80 Mbit/s are 10 MB/s, for both"


@pytest.mark.walk
def test_to_be_held_back_is_no_slowness_of_a_neighbour(row, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_SLOW_S", 0.05)
    row.caches["me"] = BlobCache(tmp_path / "paced", 1000, 0, take_mbit=32)
    near = row.host("near", CONTENT)
    assert row.fetch("me", "near").read_bytes() == CONTENT
    assert len(near.asked) == 1


def test_who_waits_for_its_pace_can_be_stopped():
    stop, pace = threading.Event(), Pace(1)
    stop.set()
    begun = time.monotonic()
    assert pace.wait(10**6, stop) == pytest.approx(8, abs=0.1)
    assert time.monotonic() - begun < 6
    assert Pace().wait(10**9, stop) == 0
