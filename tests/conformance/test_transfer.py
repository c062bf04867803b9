"""One suite for every transfer protocol: all bytes, in order, and clear errors."""

import threading

import pytest

from deploy.playground import Near
from luhyaapi.errors import Refused, Trouble, Unavailable
from luhyaapi.transfer import giver
from luhyaapi.transfer.base import CHUNK, Source, never
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.curl import Curl
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.wire.blobs import block_routes, trace_routes
from luhyaapi.wire.http import Door
from nc.services.lazy.traces import Traces, learn

CONTENT = bytes(range(256)) * 300 * 40
NAMES = {"here": "a" * 64, "missing": "b" * 64, "empty": "c" * 64}


class OverHttp:
    transfer = Curl()

    def __init__(self, cache):
        self.door = Door("cc", "127.0.0.1", 0, block_routes("cc", CacheGiver(cache), lambda *_a: None), lambda: ()).start()
        self.base = f"http://127.0.0.1:{self.door.port}"

    def close(self):
        self.door.stop()


class InOneProcess:
    transfer = Near()
    base = "near://trial"

    def __init__(self, cache):
        self.transfer.lend("trial", lambda: CacheGiver(cache))

    def close(self):
        self.transfer.forget("trial")


@pytest.fixture
def cache(tmp_path):
    cache = BlobCache(tmp_path / "c", 100, 0)
    for name, content in (("here", CONTENT), ("empty", b"")):
        cache.part(NAMES[name]).write_bytes(content)
        cache.adopt(cache.part(NAMES[name]), NAMES[name])
    return cache


@pytest.fixture(params=[InOneProcess, pytest.param(OverHttp, marks=pytest.mark.live)])
def way(request, cache):
    way = request.param(cache)
    yield way
    way.close()


def source(way, name="here", what="blocks?want=0-46"):
    return Source(f"{way.base}/cc/api/1.0/blobs/{NAMES[name]}/{what}", {"Authorization": "Ticket t"})


def get(way, stopped=never, **asked):
    pieces = []
    way.transfer.get(source(way, **asked), pieces.append, stopped)
    assert all(len(piece) <= 2 * CHUNK for piece in pieces)
    return b"".join(pieces)


def test_it_names_its_schemes(way):
    assert way.base.split(":")[0] in way.transfer.schemes


def test_everything(way, cache):
    wanted = giver.answer(CacheGiver(cache), NAMES["here"], "blocks", {"want": "0-46"})
    assert get(way) == b"".join(wanted)


def test_the_index(way, cache):
    known = cache.index(NAMES["here"])
    assert giver.unsqueeze(get(way, what="index"), known.size, known.name).data == known.data
    assert giver.unsqueeze(get(way, name="empty", what="index"), 0, cache.index(NAMES["empty"]).name).data == b""


@pytest.mark.parametrize(("asked", "code"), [
    ({"name": "missing"}, "not_found"), ({"what": "blocks?want=0-47"}, "invalid"), ({"what": "blocks"}, "invalid"),
    ({"what": "blocks?want=5-4"}, "invalid"), ({"what": "blocks?want=3,3"}, "invalid"), ({"what": "blocks?want=-1"}, "invalid"),
    ({"name": "empty", "what": "blocks?want=0"}, "invalid"),
])
def test_what_is_not_there_is_refused(way, asked, code):
    with pytest.raises(Refused) as e:
        get(way, **asked)
    assert e.value.code == code


def test_an_error_of_the_taker_comes_through(way):
    def full(_data):
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        way.transfer.get(source(way), full, never)


def test_it_stops_when_told(way):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Trouble) as e:
        get(way, stopped=stop.is_set)
    assert e.value.code == "cancelled"


@pytest.mark.live
def test_nobody_there_is_unavailable():
    with pytest.raises(Unavailable) as e:
        Curl().get(Source("http://127.0.0.1:9/x"), lambda _d: None, never)
    assert e.value.code == "transfer"


def test_nobody_of_that_name_is_unavailable():
    with pytest.raises(Unavailable):
        Near().get(Source("near://nobody/x/y"), lambda _d: None, never)


@pytest.mark.live
def test_an_answer_that_breaks_off_is_a_cut(cache):
    """What came before counts; the end is not taken for the end."""
    class Breaking(CacheGiver):
        def frames(self, sha256, wanted):
            yield next(iter(super().frames(sha256, wanted)))
            raise Unavailable("interrupted", "The disk went away")

    door = Door("cc", "127.0.0.1", 0, block_routes("cc", Breaking(cache), lambda *_a: None), lambda: ()).start()
    taken, ticket = [], {"Authorization": "Ticket t"}
    try:
        with pytest.raises(Unavailable) as e:
            Curl().get(Source(f"http://127.0.0.1:{door.port}/cc/api/1.0/blobs/{NAMES['here']}/blocks?want=0-46", ticket), taken.append, never)
    finally:
        door.stop()
    assert e.value.code == "transfer"
    assert b"".join(taken)


@pytest.mark.live
def test_a_trace_is_told_by_http_to_who_may_have_the_file(tmp_path):
    traces, opened = Traces(tmp_path), []
    traces.keep(NAMES["here"], [3, 1, 2])
    door = Door("nc", "127.0.0.1", 0, trace_routes("nc", traces, lambda *asked: opened.append(asked)), lambda: ()).start()
    base, told = f"http://127.0.0.1:{door.port}/nc/api/1.0/blobs", []
    near = [Source(f"{base}/{NAMES[name]}", {"Authorization": "Ticket t"}) for name in ("missing", "here")]
    learn(near, told.append, never)
    door.stop()
    assert told == [[3, 1, 2]]
    assert opened == [("t", NAMES["missing"], "get"), ("t", NAMES["here"], "get")]
