"""What a publish that came to nothing brought into the store goes again, also after a death, and never what somebody else published."""

import hashlib
import io
import os

import pytest

from luhyaapi import clock, points
from luhyaapi.contracts.specs import UploadPart
from luhyaapi.errors import Failed, Refused, Unavailable
from tests.support.image_store import opened
from walrus.services.library import Library

KERNEL = bytes(0x202) + b"HdrS" + bytes(100)
OTHER = KERNEL + b"other"


class Hall:
    """A library that dies and comes back."""

    def __init__(self, folder):
        self._folder = folder
        self.again()

    def again(self):
        self.store = opened(self._folder / "store")
        self.library = Library(self._folder, self.store)

    def upload(self, ident, content=KERNEL):
        self.library.open_upload(ident, [("kernel", len(content))])
        self.library.write(ident, "kernel", 0, io.BytesIO(content), len(content))

    def publish(self, ident, content=KERNEL, **kw):
        part = UploadPart(part="kernel", sha256=hashlib.sha256(content).hexdigest(), size=len(content), format="raw")
        return self.library.publish(ident, (part,), **kw)

    def dies_publishing(self, ident):
        """Between the file and its receipt."""
        def crash(point):
            if point == "manifest: after put":
                raise KeyboardInterrupt

        self.upload(ident)
        before = points.use(crash)
        try:
            with pytest.raises(KeyboardInterrupt):
                self.publish(ident)
        finally:
            points.use(before)
        self.again()
        assert len(self.store.sha256s()) == 1

    def lose_upload(self, ident):
        """A power cut takes what was not on the disk yet."""
        os.truncate(self._folder / "uploads" / ident / "kernel.part", 0)


@pytest.fixture
def hall(tmp_path):
    return Hall(tmp_path)


def test_what_a_death_left_goes_when_the_upload_is_refused_afterwards(hall):
    hall.dies_publishing("one")
    hall.lose_upload("one")
    with pytest.raises(Refused) as e:
        hall.publish("one")
    assert e.value.code == "invalid"
    assert hall.store.sha256s() == []


def test_what_a_death_left_goes_when_the_upload_is_given_up(hall):
    hall.dies_publishing("one")
    hall.library.abandon("one")
    assert hall.store.sha256s() == []


def test_what_a_death_left_is_published_when_all_goes_well_then(hall):
    hall.dies_publishing("one")
    hall.publish("one")
    hall.again()
    hall.library.abandon("one")
    assert len(hall.store.sha256s()) == 1


def test_what_somebody_else_published_since_stays(hall):
    hall.dies_publishing("one")
    hall.upload("two")
    theirs = hall.publish("two")
    hall.lose_upload("one")
    with pytest.raises(Refused):
        hall.publish("one")
    assert hall.library.published("two") == theirs


def test_what_was_there_before_stays(hall):
    hall.upload("one")
    hall.publish("one")
    hall.upload("two")
    with pytest.raises(Refused):
        hall.publish("two", cancelled=lambda: True)
    hall.library.abandon("two")
    assert len(hall.store.sha256s()) == 1


def test_a_draft_that_is_dropped_after_a_death_leaves_nothing(hall):
    sha256 = hashlib.sha256(KERNEL).hexdigest()
    hall.library._receipts.expect("wks-1", [sha256])
    hall.upload("one")
    part = hall.library._folder("one") / "kernel.part"
    hall.store.add(part, sha256)
    hall.again()
    hall.library.drop("wks-1")
    assert hall.store.sha256s() == []
    hall.library.drop("../no id")


def test_a_file_that_another_upload_gave_back_meanwhile_is_brought_again(hall):
    hall.upload("two")

    add = hall.store.add

    def lost(*args, **kw):
        added = add(*args, **kw)
        hall.store.remove(args[1])
        return added

    hall.store.add = lost
    with pytest.raises(Unavailable) as e:
        hall.publish("two")
    assert e.value.code == "interrupted"
    hall.store.add = add
    hall.publish("two")
    assert len(hall.store.sha256s()) == 1


@pytest.mark.parametrize("what", ["write_atomic", "sync_folder"])
def test_a_disk_that_is_full_before_or_after_leaves_nothing(hall, monkeypatch, what):
    def no_room(*_args):
        raise OSError(28, "No space left on device")

    hall.upload("one")
    monkeypatch.setattr(f"walrus.services.receipts.{what}", no_room)
    with pytest.raises(Failed) as e:
        hall.publish("one")
    assert e.value.code == "disk_full"
    assert hall.store.sha256s() == []
    assert hall.library.published("one") is None


def test_half_a_note_is_gone_at_the_next_start(hall, tmp_path):
    half = tmp_path / "bringing" / "one.json.part"
    half.write_text("[")
    hall.again()
    assert not half.exists()


def old(*files):
    past = clock.now() - 100
    for file in files:
        os.utime(file, (past, past))


def test_what_nobody_goes_on_with_is_swept_and_what_is_published_stays(hall, tmp_path):
    hall.dies_publishing("one")
    hall.upload("two", OTHER)
    hall.publish("two", OTHER)
    old(*(tmp_path / "bringing").iterdir(), *(tmp_path / "published").iterdir())
    hall.library.sweep(50)
    assert [*(tmp_path / "bringing").iterdir(), *(tmp_path / "published").iterdir()] == []
    assert hall.store.sha256s() == [hashlib.sha256(OTHER).hexdigest()]


def test_what_was_published_since_stays_when_all_of_it_is_swept_at_once(hall, tmp_path):
    hall.dies_publishing("one")
    hall.upload("two")
    hall.publish("two")
    old(*(tmp_path / "bringing").iterdir(), *(tmp_path / "published").iterdir())
    hall.library.sweep(50)
    hall.library.abandon("one")
    assert len(hall.store.sha256s()) == 1


def test_a_store_that_is_away_is_asked_again_with_the_next_sweep(hall, tmp_path, monkeypatch):
    hall.dies_publishing("one")
    old(*(tmp_path / "bringing").iterdir())

    def away(_sha256):
        raise Unavailable("transfer", "The store of objects does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(hall.store, "remove", away)
        with pytest.raises(Unavailable):
            hall.library.sweep(50)
    hall.library.sweep(50)
    assert hall.store.sha256s() == []


def test_a_receipt_that_cannot_be_read_protects_what_it_may_name(hall, tmp_path):
    hall.dies_publishing("one")
    (tmp_path / "published" / "two.json").write_text("{")
    hall.library.abandon("one")
    assert len(hall.store.sha256s()) == 1


def test_a_note_forgets_what_somebody_else_published_since(hall):
    sha256 = hashlib.sha256(KERNEL).hexdigest()
    hall.dies_publishing("one")
    hall.upload("two")
    hall.publish("two")
    hall.library._receipts.expect("one", [sha256, "b" * 64])
    assert hall.library._receipts._noted("one") == {"b" * 64}
