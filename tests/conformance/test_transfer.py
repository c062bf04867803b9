"""One suite for every transfer protocol: bytes, in order, from where one asks, and clear errors."""

import os
import threading

import pytest

from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from luhyaapi.transfer.base import CHUNK, Ability, Source, never
from luhyaapi.transfer.curl import Curl
from luhyaapi.transfer.local import Local
from luhyaapi.wire.blobs import blob_routes
from luhyaapi.wire.http import Door

CONTENT = os.urandom(CHUNK + 70_001)
NAMES = {"here": "a" * 64, "missing": "b" * 64, "empty": "c" * 64}


class OverFiles:
    def __init__(self, folder):
        self.transfer, self.folder = Local(), folder

    def source(self, name):
        return Source(f"file://{self.folder}/{NAMES[name]}")

    def close(self):
        pass


class OverHttp:
    def __init__(self, folder):
        def find(sha256):
            return folder / sha256 if (folder / sha256).exists() else None
        self.transfer = Curl()
        self.door = Door("walrus", "127.0.0.1", 0, blob_routes("walrus", find, lambda *_a: None), lambda: ()).start()

    def source(self, name):
        url = f"http://127.0.0.1:{self.door.port}/walrus/api/1.0/blobs/{NAMES[name]}"
        return Source(url, {"Authorization": "Ticket t"})

    def close(self):
        self.door.stop()


@pytest.fixture(params=[OverFiles, pytest.param(OverHttp, marks=pytest.mark.live)])
def way(request, tmp_path):
    (tmp_path / NAMES["here"]).write_bytes(CONTENT)
    (tmp_path / NAMES["empty"]).touch()
    way = request.param(tmp_path)
    yield way
    way.close()


def get(way, name="here", start=0, stopped=never):
    spans, pieces = [], []
    way.transfer.get(way.source(name), start, spans.append, pieces.append, stopped)
    assert len(spans) == 1
    assert all(len(piece) <= 2 * CHUNK for piece in pieces)
    return spans[0], b"".join(pieces)


def test_it_names_its_schemes_and_abilities(way):
    assert way.transfer.schemes
    assert Ability.GET in way.transfer.can


def test_everything(way):
    span, content = get(way)
    assert (span.start, span.total) == (0, len(CONTENT))
    assert content == CONTENT


@pytest.mark.parametrize("start", [1, CHUNK, len(CONTENT) - 1])
def test_from_the_middle(way, start):
    span, content = get(way, start=start)
    assert (span.start, span.total) == (start, len(CONTENT))
    assert content == CONTENT[start:]


def test_nothing(way):
    span, content = get(way, "empty")
    assert (span.start, span.total, content) == (0, 0, b"")


def test_what_is_not_there_is_refused(way):
    with pytest.raises(Refused) as e:
        get(way, "missing")
    assert e.value.code == "not_found"


def test_from_behind_the_end_fails(way):
    with pytest.raises(Failed) as e:
        get(way, start=len(CONTENT) + 5)
    assert e.value.code == "digest"


def test_an_error_of_the_taker_comes_through(way):
    def full(_data):
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        way.transfer.get(way.source("here"), 0, lambda _s: None, full, never)


def test_an_error_of_the_beginner_comes_through(way):
    def unwanted(_span):
        raise Failed("digest", "no")
    with pytest.raises(Failed):
        way.transfer.get(way.source("here"), 0, unwanted, lambda _d: None, never)


def test_it_stops_when_told(way):
    stop = threading.Event()
    with pytest.raises(Trouble) as e:
        way.transfer.get(way.source("here"), 0, lambda _s: stop.set(), lambda _d: None, stop.is_set)
    assert e.value.code == "cancelled"


@pytest.mark.live
def test_nobody_there_is_unavailable():
    with pytest.raises(Unavailable) as e:
        Curl().get(Source("http://127.0.0.1:9/x"), 0, lambda _s: None, lambda _d: None, never)
    assert e.value.code == "transfer"
