"""A download for somebody who reads already: what comes first, what is told, and that only verified bytes are read."""

import hashlib
import os
import random
import threading
from pathlib import Path

import pytest

from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed
from luhyaapi.transfer import demand as demands
from luhyaapi.transfer import download
from luhyaapi.transfer.blocks import BLOCK, index_of
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.demand import LARGE, SMALL, Demand
from luhyaapi.transfer.sparse import HoledFile, SparseFile
from tests.support.faulty_transfer import FaultyTransfer

CONTENT = random.Random(5).randbytes(90 * BLOCK) + bytes(10 * BLOCK) + b"the end"
BLOCKS = 101
URL = "fake://boss/blobs/x"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("far") / "file"
    with SparseFile(path) as opened:
        opened.write(CONTENT)
    return path


@pytest.fixture(scope="module")
def blob(file):
    return Blob(part="disk", sha256=hashlib.sha256(CONTENT).hexdigest(), index=index_of(file).name, size=len(CONTENT))


@pytest.fixture
def cache(tmp_path):
    return BlobCache(tmp_path / "c", 100, 0)


@pytest.fixture
def far(monkeypatch, file):
    transfer = FaultyTransfer(file)
    monkeypatch.setitem(download.PROTOCOLS, "fake", transfer)
    return transfer


@pytest.fixture
def hasty(monkeypatch):
    """Nobody is waited for."""
    monkeypatch.setattr(demands, "UNTIL_READ_S", 0.0)
    monkeypatch.setattr(demands, "QUIET_S", 0.0)


def read(demand, offset, length):
    """As an export does."""
    seen = 0
    while (file := demand.get(offset, length)) is None:
        seen = demand.wait(seen)
    return os.pread(file.fileno(), length, offset)


def test_what_is_read_comes_before_all_else(cache, far, blob):
    demand = Demand(blob.size)
    assert demand.get(70 * BLOCK + 5, 2 * BLOCK) is None
    assert not demand.is_open
    running = threading.Thread(target=fetch, args=(cache, blob, URL, "t"), kwargs={"demand": demand})
    running.start()
    assert read(demand, 70 * BLOCK + 5, 2 * BLOCK) == CONTENT[70 * BLOCK + 5 : 72 * BLOCK + 5]
    assert read(demand, 3, 7) == CONTENT[3:10]
    assert read(demand, 95 * BLOCK, 4 * BLOCK) == bytes(4 * BLOCK)
    assert read(demand, 100 * BLOCK + 3, 4) == b" end"
    assert far.blocks == ["70-72", "0", "100"]
    assert list(demand.read) == [70, 71, 72, 0, 95, 96, 97, 98, 100]
    # all that is lacking is read by somebody, so nobody waits for the rest
    assert read(demand, 0, blob.size) == CONTENT
    running.join(10)
    assert cache.path(blob.sha256).read_bytes() == CONTENT


def test_when_nobody_reads_it_comes_in_large_pieces(cache, far, blob, hasty):
    demand = Demand(blob.size, first=(9, 7, 50, 7, 99, 60, 61, 1000, -1))
    path = fetch(cache, blob, URL, "t", demand=demand)
    assert far.blocks == ["0-63", "64-89,100"]
    assert path.read_bytes() == CONTENT


def test_pieces(blob, hasty):
    demand = Demand(blob.size, first=(9, 7, 50, 7, 99, 60, 61, 1000, -1))
    lacking = set(range(90))
    with Path(os.devnull).open("rb") as nothing:
        demand.opens(nothing.fileno(), range(90, BLOCKS))
    first = demand.pick(lacking.__contains__)
    assert len(first) == LARGE
    assert {7, 9, 50, 60, 61} <= set(first)
    demand.get(0, 1)
    assert demand.pick(lacking.__contains__) == [0]
    lacking -= set(first)
    demand.came(first)
    assert demand.pick(lacking.__contains__) == sorted(lacking)


def test_while_it_is_read_only_what_is_likely_comes(blob):
    demand = Demand(blob.size, first=(9, 7, 50, 60, 61))
    lacking = set(range(90))
    with Path(os.devnull).open("rb") as nothing:
        demand.opens(nothing.fileno(), range(90, BLOCKS))
    for expected in ([7, 9, 50, 60], [61], []):
        picked = demand.pick(lacking.__contains__)
        assert picked == expected
        assert len(picked) <= SMALL
        lacking -= set(picked)
        demand.came(picked)


def test_a_cut_and_a_lie_reach_no_reader(cache, far, blob):
    far.faults = [1000, "flip"]
    demand = Demand(blob.size)
    errors = []

    def run():
        for _ in range(2):
            try:
                fetch(cache, blob, URL, "t", demand=demand)
            except Failed as e:
                errors.append(e.code)

    running = threading.Thread(target=run)
    running.start()
    assert read(demand, 5 * BLOCK, 3 * BLOCK) == CONTENT[5 * BLOCK : 8 * BLOCK]
    assert read(demand, 0, blob.size) == CONTENT
    running.join(10)
    assert errors == ["digest"]


def test_an_earlier_half_file_is_read_only_where_it_is_right(cache, far, blob):
    with HoledFile(cache.part(blob.sha256), blob.size) as half:
        half.put(0, CONTENT[: 4 * BLOCK])
        half.put(2 * BLOCK, b"wrong")
        half.put(92 * BLOCK, b"where zeros belong")
    demand = Demand(blob.size)
    running = threading.Thread(target=fetch, args=(cache, blob, URL, "t"), kwargs={"demand": demand})
    running.start()
    assert read(demand, 91 * BLOCK, 3 * BLOCK) == bytes(3 * BLOCK)
    assert read(demand, 0, 2 * BLOCK) == CONTENT[: 2 * BLOCK]
    assert far.blocks == []
    assert read(demand, 0, 4 * BLOCK) == CONTENT[: 4 * BLOCK]
    assert far.blocks == ["2"]
    assert read(demand, 0, blob.size) == CONTENT
    running.join(10)


def test_a_whole_file_is_read_at_once(file, blob):
    demand = Demand(blob.size)
    demand.whole(file)
    assert read(demand, 7, blob.size - 7) == CONTENT[7:]


@pytest.mark.walk
def test_who_reads_on_and_on_has_ever_more_before_asking(blob):
    demand = Demand(blob.size)
    lacking = set(range(90))
    with Path(os.devnull).open("rb") as nothing:
        demand.opens(nothing.fileno(), range(90, BLOCKS))

    def asks(number):
        demand.get(number * BLOCK + 512, 512)
        asked = []
        while found := demand.pick(lacking.__contains__):
            asked.append(found)
            lacking.difference_update(found)
            demand.came(found)
            if len(asked) == 2:
                break
        return asked

    assert asks(10) == [[10]]
    assert asks(10) == []
    assert asks(11) == [[11], [12]]
    assert asks(12) == [[13, 14]]
    assert asks(13) == [[15, 16, 17, 18]]
    assert asks(14) == []
    assert asks(17) == [[19, 20, 21, 22, 23, 24, 25, 26]]
    assert asks(50) == [[50]]
    assert asks(19) == []
    assert asks(88) == [[88]]
    assert asks(89) == [[89]]
