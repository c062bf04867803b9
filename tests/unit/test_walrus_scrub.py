"""The search for damage: what is spoiled is found, told, no longer counted as here, and healed when it comes again."""

import hashlib
import random
import types

import pytest

from luhyaapi import clock, points
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.blocks import BLOCK, GROUP
from tests.support.image_store import opened, whole
from tests.support.living_store import Death, noise
from walrus import beat
from walrus.services import packs
from walrus.services.scrub import Scrub

DAY_S = 86400.0
FILES = [noise(3 * GROUP + 5, 1), noise(GROUP, 1) + noise(9, 2) + b"tail", bytes(5 * BLOCK), noise(2 * GROUP, 3)]
NAMES = [hashlib.sha256(content).hexdigest() for content in FILES]


@pytest.fixture(autouse=True)
def time():
    mine = ManualClock(1.7e9)
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def filled(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "LARGEST", 30 * BLOCK)
    store = opened(tmp_path)
    bring(store, tmp_path)
    return store


def bring(store, folder, which=(0, 1, 2, 3)):
    for n in which:
        (folder / "f").write_bytes(FILES[n])
        store.add(folder / "f", NAMES[n])


def anew(folder):
    """After a restart that lost what can be made anew."""
    for file in (folder / "places").iterdir():
        file.unlink()
    return opened(folder)


def objects(folder, kind):
    return sorted((folder / "objects" / f"{kind}_").iterdir())


def spoil(file, at, bit=1):
    file.chmod(0o600)
    data = bytearray(file.read_bytes())
    data[at] ^= bit
    file.write_bytes(data)


def searched(store):
    """A search from its begin to its end; what is hit."""
    clock.sleep(DAY_S)
    scrub = Scrub(store, 10**6)
    scrub.step()
    assert store.places.scrubbed()[0] == ""
    return scrub.hit()


def unreadable(store):
    """The files that cannot be read; the others are as they were."""
    lost = []
    for content, name in zip(FILES, NAMES, strict=True):
        code = read(store, name, content)
        assert code in ("", "digest" if store.has(name) else "not_found")
        lost += [name] if code else []
    return sorted(lost)


def read(store, name, content):
    try:
        assert whole(store, name) == content
    except (Failed, Refused) as e:
        return e.code
    return ""


def test_where_nothing_is_spoiled_nothing_is_hit(filled, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "objects").rglob("*")}
    assert searched(filled) == unreadable(filled) == []
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "objects").rglob("*")} == before


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.walk
def test_flips_anywhere_are_found_told_and_healed(filled, tmp_path, seed):
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 4)):
        file = dice.choice([file for kind in ("packs", "indexes", "manifests") for file in objects(tmp_path, kind)])
        spoil(file, dice.randrange(file.stat().st_size), 1 << dice.randrange(8))
    hit = searched(filled)
    assert hit == unreadable(filled)
    store = opened(tmp_path)
    assert Scrub(store, 1).hit() == hit, "what was found is known after a restart"
    bring(store, tmp_path)
    assert Scrub(store, 1).hit() == unreadable(store) == []
    assert searched(store) == []
    # a list made anew may name a damaged frame instead of the sound one: the next search finds that out
    store = anew(tmp_path)
    assert searched(store) == unreadable(store)
    bring(store, tmp_path)
    assert searched(store) == unreadable(store) == []


def test_a_pack_that_is_gone_is_found_out(filled, tmp_path):
    objects(tmp_path, "packs")[0].unlink()
    assert searched(filled) == unreadable(filled) != []
    bring(filled, tmp_path)
    assert searched(filled) == unreadable(filled) == []


@pytest.mark.parametrize("at", [-1, -30])
def test_a_damaged_table_is_written_again(filled, tmp_path, at):
    spoil(objects(tmp_path, "packs")[0], at)
    assert searched(filled) == []
    assert all(packs.table(filled.objects, f"packs/{file.name}") for file in objects(tmp_path, "packs"))
    assert unreadable(anew(tmp_path)) == []


def test_a_manifest_is_written_again_from_memory(filled, tmp_path):
    for file in objects(tmp_path, "manifests"):
        spoil(file, 30)
    assert searched(filled) == []
    assert opened(tmp_path).sha256s() == sorted(NAMES)


def test_a_manifest_that_was_damaged_at_the_start_is_told_and_healed(filled, tmp_path):
    spoil(tmp_path / "objects" / "manifests_" / NAMES[3], 30)
    store = opened(tmp_path)
    assert Scrub(store, 1).hit() == [NAMES[3]]
    assert store.collect() == 0
    bring(store, tmp_path, [3])
    assert Scrub(store, 1).hit() == searched(store) == []
    store.remove(NAMES[3])
    assert store.collect() > 0, "nothing stands in the way any more"


def test_what_nobody_needs_any_more_is_not_lost(filled, tmp_path):
    for file in objects(tmp_path, "packs"):
        spoil(file, 200)
    assert searched(filled)
    for name in NAMES:
        filled.remove(name)
    assert searched(filled) == []
    assert filled.places.lost() == set()


def test_only_so_much_is_read_at_a_time(filled):
    clock.sleep(DAY_S)
    scrub, size, steps = Scrub(filled, 1), filled.used(), 0
    while not steps or scrub._under_way:
        scrub.step()
        steps += 1
    assert size / 2**20 <= steps + 1 <= size / 2**20 + 3
    Scrub(filled, 0).step()


def test_it_goes_on_where_it_was_and_rests_a_day(filled, tmp_path, time):
    clock.sleep(DAY_S)
    scrub = Scrub(filled, 2.5)
    scrub.step()
    at, began_at = filled.places.scrubbed()
    assert at == f"packs/{objects(tmp_path, 'packs')[0].name}"
    spoil(objects(tmp_path, "packs")[0], 200)
    time.sleep(5)
    store = opened(tmp_path)
    Scrub(store, 10**6).step()
    assert store.places.scrubbed() == ("", began_at), "the same search, to its end"
    assert Scrub(store, 1).hit() == [], "what lies behind it is for the next one"
    Scrub(store, 10**6).step()
    assert store.places.scrubbed() == ("", began_at)
    assert searched(store) == unreadable(store) != []


@pytest.mark.parametrize("at", ["scrub: before lose", "pack: before put", "pack: after put", "manifest: before put"])
def test_a_death_in_the_middle_loses_nothing(filled, tmp_path, at):
    first, second = objects(tmp_path, "packs")[:2]
    spoil(first, 200)
    spoil(second, -1)
    spoil(objects(tmp_path, "manifests")[0], 30)

    def dies(name):
        if name == at:
            raise Death

    clock.sleep(DAY_S)
    before = points.use(dies)
    try:
        with pytest.raises(Death):
            Scrub(filled, 10**6).step()
    finally:
        points.use(before)
    filled.close()
    store = opened(tmp_path)
    Scrub(store, 10**6).step()
    assert Scrub(store, 1).hit() == unreadable(store) != []
    bring(store, tmp_path)
    assert searched(store) == unreadable(store) == []


def test_the_heartbeat_names_what_is_hit(filled, tmp_path):
    spoil(objects(tmp_path, "packs")[0], 200)
    hit = searched(filled)
    told = []
    agent = types.SimpleNamespace(
        me="walrus-00000001", settings=types.SimpleNamespace(host=types.SimpleNamespace(state=tmp_path)), report=told.append,
        journal=types.SimpleNamespace(counts=lambda: (0, 0)),
        services=types.SimpleNamespace(store=filled, objects=types.SimpleNamespace(trouble=""), scrub=Scrub(filled, 1)),
    )
    beat.Beat(agent).beat()
    assert told[0].damaged == tuple(hit) != ()
