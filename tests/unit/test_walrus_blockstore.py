"""The block store: every block once, files out as they came in, nothing needed is ever collected."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings

from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer import frames
from luhyaapi.transfer.blocks import BLOCK, GROUP, HOLE, index_of
from tests.support.image_store import opened, whole
from tests.support.living_store import Living, noise
from walrus.services import packs


@pytest.fixture
def store(tmp_path):
    return opened(tmp_path)


def add(store, tmp_path, content, name="f", **more):
    file = tmp_path / name
    with file.open("wb") as out:
        out.truncate(len(content))
        for at in range(0, len(content), BLOCK):
            if any(content[at : at + BLOCK]):
                out.seek(at)
                out.write(content[at : at + BLOCK])
    sha256 = hashlib.sha256(content).hexdigest()
    return sha256, store.add(file, sha256, **more).index


CONTENTS = {
    "empty": b"", "a byte": b"x", "a block": noise(1, 1), "a tail": noise(2, 2) + b"tail", "zeros": bytes(5 * BLOCK + 3),
    "holes": bytes(20 * BLOCK) + noise(3, 3) + bytes(30 * BLOCK) + b"end", "twice the same": noise(2, 4) * 2, "groups": noise(3 * GROUP + 5, 5),
    "text": b"0123456789abcdef" * 4096 * 40,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_goes_in_comes_out(store, tmp_path, content):
    sha256, index = add(store, tmp_path, content)
    assert index.data == index_of(tmp_path / "f").data
    assert store.index(sha256).data == index.data
    assert (store.size(sha256), store.sha256s(), store.has(sha256)) == (len(content), [sha256], True)
    assert whole(store, sha256) == content
    for start, length in ((0, 1), (len(content) // 2, 7), (max(len(content) - 3, 0), 3), (BLOCK - 1, 2), (BLOCK, BLOCK)):
        if start + length <= len(content):
            assert b"".join(store.read(sha256, start, length)) == content[start : start + length]


def test_a_block_is_kept_once_whoever_brings_it(store, tmp_path):
    first, _ = add(store, tmp_path, noise(40, 1) + noise(40, 2))
    used = store.used()
    second, _ = add(store, tmp_path, noise(40, 2) + bytes(BLOCK) + noise(40, 1))
    assert store.used() == used
    third, _ = add(store, tmp_path, noise(40, 1) + noise(1, 9) + noise(39, 2))
    assert 0 < store.used() - used < 3 * BLOCK
    assert whole(store, first) == noise(40, 1) + noise(40, 2)
    assert whole(store, second) == noise(40, 2) + bytes(BLOCK) + noise(40, 1)
    assert len(whole(store, third)) == 80 * BLOCK


def test_the_blocks_of_an_update_are_whole_frames(store, tmp_path):
    """Changed blocks that lie far apart were new together, so who has the rest gets few frames and nothing else."""
    old = bytearray(b"".join(i.to_bytes(4) * (BLOCK // 4) for i in range(1, 401)))
    add(store, tmp_path, bytes(old))
    changed = range(7, 400, 20)
    for number in changed:
        old[number * BLOCK : number * BLOCK + 4] = b"new!"
    sha256, _ = add(store, tmp_path, bytes(old))
    sent = list(store.frames(sha256, list(changed)))
    assert len(sent) == -(-len(changed) // GROUP)
    assert sum(len(frames.names(f)) for f in sent) == len(changed)


def test_of_a_frame_of_which_little_is_wanted_little_is_sent(store, tmp_path):
    sha256, index = add(store, tmp_path, noise(GROUP, 1))
    (sent,) = store.frames(sha256, [3])
    assert frames.names(sent) == [index[3]]
    (sent,) = store.frames(sha256, list(range(GROUP // 2)))
    assert len(frames.names(sent)) == GROUP


def test_holes_are_not_sent(store, tmp_path):
    sha256, index = add(store, tmp_path, CONTENTS["holes"])
    sent = [name for f in store.frames(sha256, range(len(index))) for name in frames.names(f)]
    assert sorted(sent) == sorted(name for name in index if name != HOLE)


def test_several_packs(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "LARGEST", 10 * BLOCK)
    store = opened(tmp_path)
    sha256, _ = add(store, tmp_path, noise(90, 1))
    assert len(list((tmp_path / "objects").rglob("packs_/*"))) > 3
    assert whole(store, sha256) == noise(90, 1)


def test_all_is_there_after_a_restart_also_without_what_can_be_made_anew(store, tmp_path):
    sha256, _ = add(store, tmp_path, CONTENTS["holes"])
    assert whole(opened(tmp_path), sha256) == CONTENTS["holes"]
    for file in (tmp_path / "places").iterdir():
        file.unlink()
    again = opened(tmp_path)
    assert whole(again, sha256) == CONTENTS["holes"]
    assert again.used() == store.used()


def test_what_is_not_here_is_refused(store):
    for ask in (store.size, store.index, lambda s: store.read(s, 0, 1), lambda s: store.frames(s, [0])):
        with pytest.raises(Refused) as e:
            ask("a" * 64)
        assert e.value.code == "not_found"
    assert store.remove("a" * 64) is False


def test_adding_can_be_cancelled_and_leaves_nothing_to_see(store, tmp_path):
    with pytest.raises(Refused, match="cancelled"):
        add(store, tmp_path, noise(3, 1), cancelled=lambda: True)
    assert store.sha256s() == []
    assert list((tmp_path / "places").glob("*.pack")) == []


def test_progress_is_told_in_bytes(store, tmp_path):
    told = []
    add(store, tmp_path, CONTENTS["groups"] + b"x", on_progress=lambda done, total: told.append((done, total)))
    size = len(CONTENTS["groups"]) + 1
    assert told == sorted(told)
    assert told[-1] == (size, size)


def test_no_room_says_how_much(tmp_path):
    store = opened(tmp_path, quota_mib=1)
    store.room(1000)
    with pytest.raises(Failed, match="no room") as e:
        store.room(2 * 1024 * 1024)
    assert e.value.code == "disk_full"


def test_a_manifest_of_somebody_else_is_not_believed_and_nothing_is_collected(store, tmp_path):
    sha256, _ = add(store, tmp_path, noise(3, 1))
    other = opened(tmp_path, key=Ed25519PrivateKey.generate())
    assert other.sha256s() == []
    assert other.collect() == 0
    file = tmp_path / "objects" / "manifests_" / sha256
    sealed = json.loads(file.read_text())
    sealed["manifest"] = sealed["manifest"].replace(str(3 * BLOCK), str(2 * BLOCK))
    file.write_text(json.dumps(sealed))
    assert opened(tmp_path).sha256s() == []


@pytest.mark.parametrize("at", [-1, -20, -40])
def test_a_damaged_table_costs_nothing(store, tmp_path, at):
    """What is in a pack its frames tell too."""
    sha256, _ = add(store, tmp_path, noise(20, 1))
    (pack,) = (tmp_path / "objects" / "packs_").iterdir()
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    assert whole(_fresh(tmp_path), sha256) == noise(20, 1)


@pytest.mark.parametrize("at", [0, 100])
def test_a_damaged_pack_gives_no_wrong_byte(store, tmp_path, at):
    sha256, _ = add(store, tmp_path, noise(20, 1))
    (pack,) = (tmp_path / "objects" / "packs_").iterdir()
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    with pytest.raises(Failed) as e:
        whole(store, sha256)
    assert e.value.code == "digest"


def _fresh(tmp_path):
    for file in (tmp_path / "places").iterdir():
        file.unlink()
    return opened(tmp_path)


def test_a_lost_block_is_told(store, tmp_path):
    sha256, _ = add(store, tmp_path, noise(20, 1))
    (pack,) = (tmp_path / "objects" / "packs_").iterdir()
    pack.unlink()
    with pytest.raises(Failed, match="lost"):
        whole(opened(tmp_path), sha256)


def test_collecting_frees_what_nobody_needs_and_keeps_the_rest(store, tmp_path):
    first, _ = add(store, tmp_path, noise(60, 1))
    second, _ = add(store, tmp_path, noise(10, 1) + noise(10, 2))
    assert store.collect() == 0
    assert store.remove(first)
    assert store.collect() > 40 * BLOCK
    assert store.sha256s() == [second]
    assert whole(store, second) == noise(10, 1) + noise(10, 2)
    assert whole(opened(tmp_path), second) == noise(10, 1) + noise(10, 2)
    assert store.remove(second)
    store.collect()
    assert store.used() == 0
    assert [p for p in (tmp_path / "objects").rglob("*") if p.is_file()] == []


TestLiving = Living.TestCase
TestLiving.pytestmark = [pytest.mark.walk]
TestLiving.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)


def test_collecting_that_fails_is_done_again(store, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(noise(4, 1))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    store.add(file, sha256)
    store.remove(sha256)

    def full(_name):
        raise Failed("disk_full", "There is no room")

    with monkeypatch.context() as patch:
        patch.setattr(store.objects, "delete", full)
        with pytest.raises(Failed, match="no room"):
            store.collect()
    assert store.collect() > 0
    assert store.used() == 0
