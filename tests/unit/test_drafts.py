"""A file pushed up to the store: what is acknowledged is kept, whatever dies or lies on the way."""

import hashlib
import json
import os

import pytest

from luhyaapi import points
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import frames, giver, pushing
from luhyaapi.transfer.base import Source
from luhyaapi.transfer.blocks import BLOCK, index_of
from luhyaapi.transfer.download import PROTOCOLS, Patience
from luhyaapi.transfer.pushing import push
from tests.support.image_store import opened, whole
from walrus.services.library import Library

DRAFT = "tsk-00000001"


class Line:
    """Carries a push to the drafts of ``library()``; each entry of ``faults`` is used up by one request: before, after, or an error."""

    schemes = frozenset({"line"})

    def __init__(self, library):
        self.library, self.faults, self.asked = library, [], []

    def put(self, source, body, stopped):
        what, _, query = source.url.rsplit("/", 1)[1].partition("?")
        fault = self.faults.pop(0) if self.faults else None
        if callable(fault):
            body = fault(body)
        if isinstance(fault, BaseException):
            raise fault
        if fault == "before":
            raise Unavailable("transfer", "cut")
        self.asked.append((what, len(body)))
        drafts = self.library().drafts
        if what == "index":
            size, name = (word.split("=")[1] for word in query.split("&"))
            said = drafts.begin(DRAFT, int(size), name, body)
        else:
            drafts.take(DRAFT, body)
            said = {}
        if fault == "after":
            raise Unavailable("transfer", "cut")
        return b"noise" if fault == "noise" else json.dumps(said).encode()


@pytest.fixture
def hall(tmp_path):
    """``hall()`` is the library as it is now; ``hall.again()`` after a death."""
    class Hall:
        def __init__(self):
            self.again()

        def again(self):
            self.store = opened(tmp_path / "store")
            self.library = Library(tmp_path, self.store, largest_mib=64)

        def __call__(self):
            return self.library

    return Hall()


@pytest.fixture
def line(hall, monkeypatch):
    carrier = Line(hall)
    monkeypatch.setitem(PROTOCOLS, "line", carrier)
    monkeypatch.setattr(pushing, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(pushing, "AT_ONCE", 16)
    return carrier


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(40 * BLOCK) + bytes(20 * BLOCK) + os.urandom(BLOCK // 2))
    return path


def bring(file, **more):
    index = index_of(file)
    return push(Source("line://store/drafts/d"), index, lambda wanted: giver.of_file(file, index, wanted), **more)


def test_it_becomes_a_file_of_the_store(hall, line, file):
    told = []
    moved = bring(file, on_progress=lambda *at: told.append(at))
    assert 41 * BLOCK > moved > 40 * BLOCK
    assert told[-1] == (file.stat().st_size, file.stat().st_size)
    published = hall().adopt(DRAFT)
    assert published.blobs[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert whole(hall.store, published.blobs[0].sha256) == file.read_bytes()
    assert published.parts[0].added == hall.store.used()
    assert hall().adopt(DRAFT) == published
    assert not hall().drafts.has(DRAFT)


def test_only_what_the_store_lacks_moves(hall, line, file):
    bring(file)
    hall().adopt(DRAFT)
    with file.open("r+b") as opened_:
        opened_.write(os.urandom(10))
    moved = bring(file)
    assert moved < 2 * BLOCK
    published = hall().adopt(DRAFT)
    assert whole(hall.store, published.blobs[0].sha256) == file.read_bytes()
    assert bring(file) < BLOCK, "all of it is there"


@pytest.mark.parametrize("when", ["before", "after"])
def test_cuts_anywhere(hall, line, file, when):
    line.faults = [None, when, None, when, when]
    bring(file)
    assert whole(hall.store, hall().adopt(DRAFT).blobs[0].sha256) == file.read_bytes()
    assert sum(size for what, size in line.asked if what == "blocks") < (42 if when == "before" else 100) * BLOCK


def test_a_store_that_dies_in_between_asks_for_nothing_again(hall, line, file):
    def die(body):
        hall.again()
        return body

    line.faults = [None, None, die, die]
    moved = bring(file)
    assert moved < 42 * BLOCK
    assert whole(hall.store, hall().adopt(DRAFT).blobs[0].sha256) == file.read_bytes()


def test_a_draft_that_is_forgotten_is_begun_again(hall, line, file):
    def forget(body):
        hall().drafts.abandon(DRAFT)
        return body

    line.faults = [None, None, forget]
    assert bring(file) < 43 * BLOCK
    assert whole(hall.store, hall().adopt(DRAFT).blobs[0].sha256) == file.read_bytes()
    line.faults = [None, forget] * 9
    file.write_bytes(os.urandom(3 * BLOCK))
    with pytest.raises(Failed, match="does not become whole"):
        bring(file)


def test_patience_ends_and_cancelling_ends_it(hall, line, file):
    line.faults = ["before"] * 50
    with pytest.raises(Unavailable):
        bring(file, patience=Patience(total_s=10, idle_s=0.05))
    line.faults = ["before"] * 50
    with pytest.raises(Refused) as e:
        bring(file, cancelled=lambda: True)
    assert e.value.code == "cancelled"


@pytest.mark.parametrize("answer", [b"noise", b"[]", b'{"lacking": 5}', b'{"lacking": "99999"}'])
def test_an_answer_that_is_none(line, file, answer, monkeypatch):
    monkeypatch.setattr(line, "put", lambda *_: answer)
    with pytest.raises((Failed, Refused)):
        bring(file)


def test_damaged_and_foreign_blocks_are_refused(hall, line, file, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(os.urandom(3 * BLOCK))
    foreign = b"".join(giver.of_file(other, index_of(other), range(3)))
    line.faults = [None, lambda _body: foreign]
    with pytest.raises(Refused, match="not of this file"):
        bring(file)
    line.faults = [None, lambda body: body[:-100] + bytes([body[-100] ^ 1]) + body[-99:]]
    with pytest.raises(Failed) as e:
        bring(file)
    assert e.value.code == "digest"
    line.faults = [None, lambda body: body[:frames.HEAD.size] + bytes([body[frames.HEAD.size] ^ 1]) + body[frames.HEAD.size + 1:]]
    with pytest.raises(Failed) as e:
        bring(file)
    assert e.value.code == "digest", "the name of a block"
    line.faults = [None, lambda body: body[:-1]]
    with pytest.raises(Failed, match="expected"):
        bring(file)
    bring(file)
    assert whole(hall.store, hall().adopt(DRAFT).blobs[0].sha256) == file.read_bytes()


def test_collecting_leaves_what_is_coming(hall, line, file):
    line.faults = [None, None, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        bring(file)
    here = hall.store.used()
    hall.store.remove("0" * 64)
    hall.store.collect()
    assert hall.store.used() == here > 0
    hall.again()
    hall.store.remove("0" * 64)
    hall.store.collect()
    assert hall.store.used() == here
    with pytest.raises(Refused, match="not come whole"):
        hall().adopt(DRAFT)
    assert hall().sweep(-1) == [DRAFT]
    hall.store.collect()
    assert hall.store.used() == 0


def test_what_cannot_be_a_draft(hall, line, file):
    drafts = hall().drafts
    index = index_of(file)
    body = giver.squeeze(index)
    for draft, size in (("../x", index.size), ("", 1), (DRAFT, 0), (DRAFT, 1 << 50)):
        with pytest.raises(Refused):
            drafts.begin(draft, size, index.name, body)
    with pytest.raises(Failed):
        drafts.begin(DRAFT, index.size, "0" * 64, body)
    with pytest.raises(Failed):
        drafts.begin(DRAFT, index.size + BLOCK, index.name, body)
    for act in (lambda: drafts.take(DRAFT, b""), lambda: hall().adopt(DRAFT)):
        with pytest.raises(Refused) as e:
            act()
        assert e.value.code == "not_found"
    drafts.abandon("../x")
    for number in range(64):
        drafts.begin(f"d{number}", index.size, index.name, body)
    with pytest.raises(Refused) as e:
        drafts.begin(DRAFT, index.size, index.name, body)
    assert e.value.code == "quota"


def test_one_sender_at_a_time(hall, file):
    drafts, index = hall().drafts, index_of(file)
    drafts.begin(DRAFT, index.size, index.name, giver.squeeze(index))
    with drafts._at(DRAFT), pytest.raises(Unavailable) as e:
        drafts.take(DRAFT, b"")
    assert e.value.code == "busy"


def test_a_draft_a_power_cut_spoiled_is_begun_again(hall, line, file, tmp_path):
    bring(file)
    (tmp_path / "drafts" / f"{DRAFT}.index").write_bytes(b"")
    hall.again()
    assert not hall().drafts.has(DRAFT)
    assert bring(file) < BLOCK
    hall().adopt(DRAFT)


def test_what_was_acknowledged_survives_a_power_cut(hall, line, file, tmp_path, monkeypatch):
    synced = set()
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.add(os.fstat(fd).st_ino), sync(fd)))
    bring(file)
    left = list((tmp_path / "drafts").iterdir())
    assert {each.suffix for each in left} == {".index", ".json"}
    assert {each.stat().st_ino for each in left} <= synced


def test_a_block_that_is_lost_is_said(hall, line, file):
    bring(file)
    for name in list(hall.store.objects.names("packs/")):
        hall.store.places.drop(name)
    with pytest.raises(Failed) as e:
        hall().adopt(DRAFT)
    assert e.value.code == "digest"


def test_a_death_between_the_manifest_and_its_receipt(hall, line, file):
    bring(file)

    def crash(point):
        if point == "manifest: after put":
            raise KeyboardInterrupt

    before = points.use(crash)
    with pytest.raises(KeyboardInterrupt):
        hall().adopt(DRAFT)
    points.use(before)
    hall.again()
    assert whole(hall.store, hall().adopt(DRAFT).blobs[0].sha256) == file.read_bytes()
