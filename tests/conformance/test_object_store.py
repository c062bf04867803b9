"""One suite for every object store: whole objects by name, replaced as a whole, listed in order, never changed."""

from __future__ import annotations

import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from luhyaapi.errors import Refused
from tests.support import scratch
from tests.support.private_swift import ACCESS_KEY, REGION, SECRET_KEY, PrivateSwift, private_swift
from walrus.drivers.base import PIECE, ObjectStore
from walrus.drivers.local import LocalStore

MIB = 1024 * 1024
PACK = 64 * MIB
CONTENT = os.urandom(2 * PIECE + 70_001)
_prefixes = count(1)


@dataclass
class Bench:
    """One store on trial; ``again`` opens it once more, as another process would, ``fill`` puts many empty objects in it."""

    store: ObjectStore
    again: Callable[[], ObjectStore]
    fill: Callable[[list[str]], object]


def _local(_request: pytest.FixtureRequest) -> Iterator[Bench]:
    folder = scratch.folder("objects")
    store = LocalStore(folder, 0)
    yield Bench(store, lambda: LocalStore(folder, 0), lambda names: [store.put(name, b"") for name in names])
    shutil.rmtree(folder)


def _s3(request: pytest.FixtureRequest) -> Iterator[Bench]:
    from walrus.drivers.s3 import S3Store

    swift, prefix = request.getfixturevalue("swift"), f"trial/{next(_prefixes)}"
    keys = (swift.endpoint, "objects", ACCESS_KEY, SECRET_KEY, REGION, prefix)
    yield Bench(S3Store(*keys), lambda: S3Store(*keys), lambda names: swift.mention("objects", [f"{prefix}/{name}" for name in names]))


STORES = {"local": _local, "s3": _s3}


@pytest.fixture(scope="module")
def swift() -> Iterator[PrivateSwift]:
    with private_swift() as swift:
        yield swift


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.live)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    yield from STORES[request.param](request)


@pytest.fixture
def store(bench: Bench) -> ObjectStore:
    return bench.store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "source"
    file.write_bytes(CONTENT)
    return file


def refused(code: str, call: Callable[..., object], *args: object) -> None:
    with pytest.raises(Refused) as caught:
        call(*args)
    assert (caught.value.code, caught.value.why != "") == (code, True)


def test_nothing_is_there_at_first(store: ObjectStore) -> None:
    assert list(store.names("")) == []


@pytest.mark.parametrize("data", [b"", b"x", CONTENT])
def test_what_was_put_is_there_for_everybody(bench: Bench, data: bytes) -> None:
    bench.store.put("packs/1.pack", data)
    for each in (bench.store, bench.again()):
        assert each.get("packs/1.pack") == data
        assert each.size("packs/1.pack") == len(data)
        assert b"".join(each.read("packs/1.pack", 0, len(data))) == data
        assert list(each.names("")) == ["packs/1.pack"]


def test_a_file_is_moved_in(store: ObjectStore, source: Path) -> None:
    store.put_file("packs/1", source)
    assert store.get("packs/1") == CONTENT
    assert not source.exists()


def test_an_empty_file_is_an_object(store: ObjectStore, source: Path) -> None:
    source.write_bytes(b"")
    store.put_file("empty", source)
    assert (store.get("empty"), store.size("empty"), list(store.read("empty", 0, 5))) == (b"", 0, [])


@pytest.mark.parametrize(("start", "length"), [
    (0, 1), (1, PIECE), (PIECE - 1, PIECE + 2), (len(CONTENT) - 1, 1), (len(CONTENT) - 5, 50), (len(CONTENT), 5), (len(CONTENT) + 9, 5), (7, 0),
])
def test_a_span(store: ObjectStore, start: int, length: int) -> None:
    store.put("a", CONTENT)
    wanted = CONTENT[start:start + length]
    assert store.get("a", start, length) == wanted
    pieces = list(store.read("a", start, length))
    assert b"".join(pieces) == wanted
    assert all(0 < len(piece) <= PIECE for piece in pieces)


@pytest.mark.parametrize("start", [0, 70_001, len(CONTENT), len(CONTENT) + 1])
def test_all_from_somewhere(store: ObjectStore, start: int) -> None:
    store.put("a", CONTENT)
    assert store.get("a", start) == CONTENT[start:]


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, -1)])
def test_bytes_before_the_beginning_are_refused(store: ObjectStore, start: int, length: int) -> None:
    store.put("a", CONTENT)
    refused("invalid", store.get, "a", start, length)
    refused("invalid", store.read, "a", start, length)


def test_what_is_not_there_is_refused_at_once(store: ObjectStore) -> None:
    for call in (lambda: store.get("a/b"), lambda: store.get("a/b", 3, 0), lambda: store.read("a/b", 0, 5), lambda: store.size("a/b")):
        refused("not_found", call)


@pytest.mark.parametrize("name", ["", "A", "a_b", "/a", "a/", "a//b", "../a", "a/..", ".a", "a/.b", "a\n", "ä", "a/b/c/d/e", "x" * 129, "a\0"])
def test_what_is_no_name_is_refused_everywhere(store: ObjectStore, source: Path, name: str) -> None:
    for call, *args in ((store.put, b""), (store.put_file, source), (store.get,), (store.read, 0, 1), (store.size,), (store.delete,)):
        refused("invalid", call, name, *args)
    assert source.exists()
    assert list(store.names(name)) == []


def test_the_longest_name(store: ObjectStore) -> None:
    name = "/".join(["x" * 128] * 4)[:-2] + ".0"
    store.put(name, b"1")
    assert list(store.names("")) == [name]
    assert store.get(name) == b"1"


def test_one_name_may_be_the_beginning_of_another(store: ObjectStore) -> None:
    for name in ("a/b", "a", "a/b/c", "a-b", "a.b"):
        store.put(name, name.encode())
    assert list(store.names("")) == ["a", "a-b", "a.b", "a/b", "a/b/c"]
    store.delete("a/b")
    assert [store.get(name) for name in store.names("a/")] == [b"a/b/c"]


def test_an_object_is_replaced_as_a_whole(store: ObjectStore, source: Path) -> None:
    store.put("a", b"first and long")
    store.put("a", b"second")
    assert (store.get("a"), store.size("a")) == (b"second", 6)
    store.put_file("a", source)
    assert store.get("a") == CONTENT


def test_whoever_reads_goes_on_with_what_was_replaced(store: ObjectStore) -> None:
    store.put("a", CONTENT)
    pieces = store.read("a", 0, len(CONTENT))
    first = next(pieces)
    store.put("a", b"other")
    assert first + b"".join(pieces) == CONTENT


def test_reading_may_stop_early(store: ObjectStore) -> None:
    store.put("a", CONTENT)
    for _ in range(20):
        pieces = store.read("a", 0, len(CONTENT))
        next(pieces)
        pieces.close()
    assert store.get("a") == CONTENT


def test_deleting_may_be_said_twice(store: ObjectStore) -> None:
    store.put("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/there")
    assert list(store.names("")) == []
    refused("not_found", store.get, "a/b")


@pytest.mark.parametrize(("prefix", "wanted"), [
    ("", ["indexes/1", "packs/1", "packs/10", "packs/2", "pale"]), ("pa", ["packs/1", "packs/10", "packs/2", "pale"]),
    ("packs", ["packs/1", "packs/10", "packs/2"]), ("packs/", ["packs/1", "packs/10", "packs/2"]), ("packs/1", ["packs/1", "packs/10"]),
    ("pale", ["pale"]), ("pale/", []), ("q", []), ("../", []), ("packs_/", []), ("packs/1/", []),
])
def test_names_by_prefix(store: ObjectStore, prefix: str, wanted: list[str]) -> None:
    for name in ("packs/2", "packs/10", "pale", "packs/1", "indexes/1"):
        store.put(name, b"")
    assert list(store.names(prefix)) == wanted


def test_thousands_of_names(bench: Bench) -> None:
    names = [f"packs/{n}" for n in range(2500)]
    bench.fill(names)
    assert list(bench.store.names("packs/")) == sorted(names)


def test_a_link_is_no_file_to_take(store: ObjectStore, source: Path) -> None:
    link = source.with_name("link")
    link.symlink_to(source)
    for strange in (link, source.parent):
        refused("invalid", store.put_file, "a", strange)
    assert list(store.names("")) == []
    assert source.read_bytes() == CONTENT


def test_of_two_writers_one_wins_whole(bench: Bench) -> None:
    contents = [bytes([n]) * (PIECE + n) for n in range(2)]
    begin = threading.Barrier(2)

    def write(store: ObjectStore, data: bytes) -> None:
        begin.wait()
        for _ in range(10):
            store.put("a", data)

    with ThreadPoolExecutor(2) as both:
        list(both.map(write, (bench.store, bench.again()), contents))
    assert bench.store.get("a") in contents
    assert list(bench.store.names("")) == ["a"]


def test_a_pack_takes_flat_memory(store: ObjectStore, source: Path) -> None:
    with source.open("wb") as file:
        for n in range(PACK // MIB):
            file.write(bytes([n]) * MIB)
    tracemalloc.start()
    try:
        store.put_file("packs/1", source)
        last = list(enumerate(piece[0] for piece in store.read("packs/1", 0, PACK)))[-1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB
    assert store.size("packs/1") == PACK
    assert last[1] == PACK // MIB - 1
