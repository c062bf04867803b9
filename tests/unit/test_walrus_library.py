"""The image store: uploads in pieces, publishing, refusing, and what stays behind."""

import errno
import gzip
import hashlib
import io
import os
import struct
import subprocess
import threading

import pytest

from luhyaapi import clock, points
from luhyaapi.contracts.specs import UploadPart
from luhyaapi.errors import Failed, Refused, Unavailable
from tests.support.image_store import opened, whole
from walrus.services.library import Library

MIB = 1024 * 1024
KERNEL = bytes(0x202) + b"HdrS" + bytes(100)
INITRD = b"070701" + bytes(5000)
BLOCK = 64 * 1024
DISK = b"\1" * 3000 + bytes(200_000)


@pytest.fixture
def store(tmp_path):
    return opened(tmp_path / "store")


@pytest.fixture
def library(tmp_path, store):
    return Library(tmp_path, store, largest_mib=64)


def blob(part, content, **kw):
    kw.setdefault("format", "raw" if content[:4] not in {b"QFI\xfb", b"\x1f\x8b\x08\0"} else None)
    return UploadPart(part=part, sha256=hashlib.sha256(content).hexdigest(), size=len(content), **kw)


def upload(library, upload_id, **contents):
    library.open_upload(upload_id, [(part, len(content)) for part, content in contents.items()])
    for part, content in contents.items():
        assert library.write(upload_id, part, 0, io.BytesIO(content), len(content)) == len(content)


def make(file, size):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(file), size], check=True)


def uploads(tmp_path):
    return sorted(p.name for p in (tmp_path / "uploads").iterdir())


def test_from_pieces_to_a_published_image(library, store, tmp_path):
    upload(library, "up-1", kernel=KERNEL, initrd=INITRD, disk=DISK)
    told = []
    wanted = (blob("kernel", KERNEL), blob("initrd", INITRD), blob("disk", DISK))
    published = library.publish("up-1", wanted, tell=lambda what, done, total: told.append((what, done, total)))
    assert [b.virtual_size for b in published.blobs] == [0, 0, len(DISK)]
    assert whole(store, wanted[2].sha256) == DISK
    assert [(p.part, p.sha256, p.size, p.was) for p in published.parts] == [
        ("kernel", wanted[0].sha256, len(KERNEL), ()), ("initrd", wanted[1].sha256, len(INITRD), ()), ("disk", wanted[2].sha256, len(DISK), ("raw",)),
    ]
    assert (published.parts[2].filled, store.used()) == (BLOCK, sum(p.added for p in published.parts))
    whats = [what for what, _, _ in told]
    assert [what for n, what in enumerate(whats) if n == 0 or what != whats[n - 1]] == ["check", "convert", "store"]
    assert all(done <= total for _, done, total in told)
    assert uploads(tmp_path) == []


def test_whatever_it_was_it_becomes_a_raw_disk(library, store, tmp_path):
    make(tmp_path / "x", "20M")
    content = gzip.compress((tmp_path / "x").read_bytes())
    upload(library, "up-1", disk=content)
    published = library.publish("up-1", (blob("disk", content),))
    kept, sent = published.blobs[0], published.parts[0]
    assert (kept.format, kept.size, kept.virtual_size) == ("raw", 20 * MIB, 20 * MIB)
    assert kept.sha256 == hashlib.sha256(bytes(20 * MIB)).hexdigest()
    assert whole(store, kept.sha256) == bytes(20 * MIB)
    assert (sent.sha256, sent.size, sent.was, sent.filled) == (hashlib.sha256(content).hexdigest(), len(content), ("gz", "qcow2"), 0)


def test_what_unpacks_to_more_than_there_is_room_for_is_refused(tmp_path, monkeypatch):
    make(tmp_path / "x", "20M")
    store = opened(tmp_path / "store", quota_mib=1)
    library = Library(tmp_path, store)
    content = (tmp_path / "x").read_bytes()
    upload(library, "up-1", disk=content)
    monkeypatch.setattr("walrus.services.library._LOOK_S", -1.0)
    monkeypatch.setattr(store, "_keep_free", 1 << 60)
    with pytest.raises(Failed) as e:
        library.publish("up-1", (blob("disk", content),))
    assert e.value.code == "disk_full"
    assert uploads(tmp_path) == []


def test_publishing_again_is_harmless(library):
    wanted = (blob("disk", DISK),)
    upload(library, "up-1", disk=DISK)
    first = library.publish("up-1", wanted)
    assert library.publish("up-1", wanted) == first


def unannounced(part, content):
    return UploadPart(part=part, size=len(content), format="raw")


@pytest.mark.parametrize("announce", [blob, unannounced])
def test_publishing_goes_on_after_a_crash_in_the_middle(library, store, tmp_path, announce):
    upload(library, "up-1", kernel=KERNEL, disk=DISK)
    wanted = (announce("kernel", KERNEL), announce("disk", DISK))
    calls = []

    def crash(point):
        calls.append(point)
        if calls.count("manifest: before put") == 2:
            raise KeyboardInterrupt

    before = points.use(crash)
    with pytest.raises(KeyboardInterrupt):
        library.publish("up-1", wanted)
    points.use(before)
    assert len(store.sha256s()) == 1
    store = opened(tmp_path / "store")
    library = Library(tmp_path, store)
    found = library.publish("up-1", wanted)
    assert [b.sha256 for b in found.blobs] == [blob("kernel", KERNEL).sha256, blob("disk", DISK).sha256]
    assert len(store.sha256s()) == 2
    assert uploads(tmp_path) == []
    assert library.publish("up-1", wanted) == found


def test_a_digest_that_was_not_announced_is_found(library):
    upload(library, "up-1", disk=DISK)
    assert library.publish("up-1", (unannounced("disk", DISK),)).blobs[0].sha256 == blob("disk", DISK).sha256


def test_a_published_upload_takes_no_more(library, tmp_path):
    upload(library, "up-1", disk=DISK)
    library.publish("up-1", (blob("disk", DISK),))
    with pytest.raises(Refused) as e:
        library.open_upload("up-1", [("disk", len(DISK))])
    assert e.value.code == "state"
    past = clock.now() - 100
    os.utime(tmp_path / "published" / "up-1.json", (past, past))
    library.sweep(50)
    assert list((tmp_path / "published").iterdir()) == []


def test_the_same_content_is_kept_once(library, store):
    for upload_id in ("up-1", "up-2"):
        upload(library, upload_id, disk=DISK)
        library.publish(upload_id, (blob("disk", DISK),))
    assert len(store.sha256s()) == 1


def test_pieces_in_order_and_again(library):
    library.open_upload("up-1", [("disk", 10)])
    library.open_upload("up-1", [("disk", 10)])
    assert library.write("up-1", "disk", 0, io.BytesIO(b"01234"), 5) == 5
    assert library.write("up-1", "disk", 0, io.BytesIO(b"01234"), 5) == 5
    assert library.write("up-1", "disk", 3, io.BytesIO(b"34567"), 5) == 8
    assert library.write("up-1", "disk", 8, io.BytesIO(b"89"), 2) == 10
    assert library.received("up-1") == {"disk": 10}
    assert library.write("up-1", "disk", 10, io.BytesIO(b""), 0) == 10


@pytest.mark.parametrize(("offset", "length", "code"), [
    (6, 1, "state"), (0, 11, "invalid"), (-1, 1, "invalid"), (0, -1, "invalid"), (10**18, 1, "invalid"), (5, 10**18, "invalid"),
])
def test_wrong_offsets_and_lengths_are_refused(library, offset, length, code):
    library.open_upload("up-1", [("disk", 10)])
    library.write("up-1", "disk", 0, io.BytesIO(b"01234"), 5)
    with pytest.raises(Refused) as e:
        library.write("up-1", "disk", offset, io.BytesIO(b"x"), length)
    assert e.value.code == code
    assert library.received("up-1") == {"disk": 5}


def test_what_came_before_a_cut_stays(library):
    library.open_upload("up-1", [("disk", 10)])
    with pytest.raises(Unavailable):
        library.write("up-1", "disk", 0, io.BytesIO(b"0123"), 10)
    assert library.received("up-1") == {"disk": 4}
    assert library.write("up-1", "disk", 4, io.BytesIO(b"456789"), 6) == 10


class Slow:
    def __init__(self, go, entered):
        self.go, self.entered = go, entered

    def read(self, size):
        self.entered.set()
        self.go.wait(5)
        return b"x" * size


def test_an_upload_that_could_not_be_begun_leaves_nothing(library, tmp_path, monkeypatch):
    """Seed 36046: the store's disk was full for a moment, and half a file stayed until the next day."""
    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            library.open_upload("a" * 32, [("disk", 4)])
    assert [path.name for path in tmp_path.rglob("*.part")] == []
    assert [path.name for path in tmp_path.rglob("uploads/.*")] == []
    library.open_upload("a" * 32, [("disk", 4)])


def test_one_writer_at_a_time(library):
    library.open_upload("up-1", [("disk", 10), ("kernel", 10)])
    go, entered = threading.Event(), threading.Event()
    first = threading.Thread(target=library.write, args=("up-1", "disk", 0, Slow(go, entered), 10))
    first.start()
    entered.wait(5)
    with pytest.raises(Unavailable) as e:
        library.write("up-1", "disk", 0, io.BytesIO(b"0"), 1)
    assert e.value.code == "busy"
    with pytest.raises(Unavailable):
        library.publish("up-1", (blob("disk", b"x" * 10),))
    assert library.write("up-1", "kernel", 0, io.BytesIO(b"0"), 1) == 1
    go.set()
    first.join(5)
    assert library.received("up-1") == {"disk": 10, "kernel": 1}


@pytest.mark.parametrize("upload_id", ["../x", "", ".", "a/b", "x" * 65, "a\nb", "\0", "-x", "up-1\n"])
def test_ids_that_are_none(library, upload_id, tmp_path):
    for act in (
        lambda: library.open_upload(upload_id, [("disk", 1)]), lambda: library.received(upload_id),
        lambda: library.abandon(upload_id), lambda: library.write(upload_id, "disk", 0, io.BytesIO(), 0),
        lambda: library.publish(upload_id, (blob("disk", b"x"),)),
    ):
        with pytest.raises(Refused) as e:
            act()
        assert e.value.code == "invalid"
    assert uploads(tmp_path) == []


@pytest.mark.parametrize("parts", [
    [], [("disk", 0)], [("disk", -5)], [("disk", 65 * MIB)], [("disk", 10**30)], [("../x", 5)], [("disk", 1), ("disk", 1)], [("", 1)],
])
def test_parts_that_are_none(library, parts, tmp_path):
    with pytest.raises(Refused) as e:
        library.open_upload("up-1", parts)
    assert e.value.code == "invalid"
    assert uploads(tmp_path) == []


def test_other_parts_for_the_same_upload(library):
    library.open_upload("up-1", [("disk", 10)])
    with pytest.raises(Refused) as e:
        library.open_upload("up-1", [("disk", 11)])
    assert e.value.code == "conflict"


def test_unknown_uploads_and_parts(library):
    library.open_upload("up-1", [("disk", 10)])
    for act in (
        lambda: library.write("up-1", "kernel", 0, io.BytesIO(b"x"), 1), lambda: library.write("up-2", "disk", 0, io.BytesIO(b"x"), 1),
        lambda: library.received("up-2"), lambda: library.publish("up-2", (blob("disk", b"x"),)),
    ):
        with pytest.raises(Refused) as e:
            act()
        assert e.value.code == "not_found"


def test_no_room_is_found_before_a_byte_comes(tmp_path):
    library = Library(tmp_path, opened(tmp_path / "store", quota_mib=1))
    with pytest.raises(Failed) as e:
        library.open_upload("up-1", [("disk", 2 * MIB)])
    assert e.value.code == "disk_full"
    assert uploads(tmp_path) == []


def test_a_full_store_refuses_and_never_drops_an_image(tmp_path):
    store = opened(tmp_path / "store", quota_mib=1)
    library = Library(tmp_path, store)
    content = os.urandom(900_000)
    upload(library, "up-1", disk=content)
    library.publish("up-1", (blob("disk", content),))
    with pytest.raises(Failed) as e:
        library.open_upload("up-2", [("disk", 900_000)])
    assert e.value.code == "disk_full"
    assert len(store.sha256s()) == 1


def test_too_many_uploads(library):
    for i in range(64):
        library.open_upload(f"up-{i}", [("disk", 1)])
    with pytest.raises(Refused) as e:
        library.open_upload("up-64", [("disk", 1)])
    assert e.value.code == "quota"


def qcow2_with_backing_file():
    header = b"QFI\xfb" + struct.pack(">IQIIQ", 3, 512, 4, 16, MIB)
    return header + bytes(512 - len(header)) + b"/etc" + bytes(200_000)


@pytest.mark.parametrize(("content", "wanted", "code"), [
    (DISK, blob("disk", DISK[:-1] + b"x"), "digest"),
    (DISK[:-5], blob("disk", DISK), "invalid"),
    (DISK, blob("disk", DISK, format="qcow2"), "image_format"),
    (qcow2_with_backing_file(), blob("disk", qcow2_with_backing_file(), format="qcow2"), "image_format"),
    (qcow2_with_backing_file(), blob("disk", qcow2_with_backing_file()), "image_format"),
])
def test_a_refused_image_leaves_nothing(library, store, tmp_path, content, wanted, code):
    upload(library, "up-1", kernel=KERNEL, disk=content)
    with pytest.raises((Refused, Failed)) as e:
        library.publish("up-1", (blob("kernel", KERNEL), wanted))
    assert e.value.code == code
    assert e.value.why
    assert uploads(tmp_path) == []
    assert store.sha256s() == []


def test_cancelling_leaves_nothing(library, store, tmp_path):
    upload(library, "up-1", disk=DISK)
    with pytest.raises(Refused) as e:
        library.publish("up-1", (blob("disk", DISK),), cancelled=lambda: True)
    assert e.value.code == "cancelled"
    assert uploads(tmp_path) == []
    assert store.sha256s() == []


def test_deleting_keeps_what_others_need(library, store):
    upload(library, "up-1", kernel=KERNEL, disk=DISK)
    blobs = library.publish("up-1", (blob("kernel", KERNEL), blob("disk", DISK))).blobs
    assert library.delete(blobs, keep={blobs[0].sha256}) == 1
    assert store.sha256s() == [blobs[0].sha256]
    assert library.delete(blobs, keep={blobs[0].sha256}) == 0


def test_uploads_nobody_goes_on_with_are_swept(library, tmp_path):
    library.open_upload("old", [("disk", 10)])
    library.open_upload("young", [("disk", 10)])
    past = clock.now() - 100
    for file in (tmp_path / "uploads" / "old", tmp_path / "uploads" / "old" / "parts.json"):
        os.utime(file, (past, past))
    assert library.sweep(50) == ["old"]
    assert uploads(tmp_path) == ["young"]


def test_zeros_take_no_space(library, store):
    content = b"\1" * 100 + bytes(8 * MIB)
    upload(library, "up-1", disk=content)
    published = library.publish("up-1", (blob("disk", content),))
    assert whole(store, published.blobs[0].sha256) == content
    assert store.used() < MIB


def test_what_a_death_left_of_a_beginning_is_gone_with_the_next_start(tmp_path, store):
    before = Library(tmp_path / "other", store)
    before.open_upload("up-1", [("disk", 10)])

    def crash(point):
        if point == "file: before rename":
            raise KeyboardInterrupt

    seam = points.use(crash)
    with pytest.raises(KeyboardInterrupt):
        before.open_upload("up-2", [("disk", 10)])
    points.use(seam)
    Library(tmp_path / "other", store)
    assert [each.name for each in (tmp_path / "other" / "uploads").iterdir()] == ["up-1"]
