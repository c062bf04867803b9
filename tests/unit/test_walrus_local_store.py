"""The local object store: deaths, half files, links, modes, a full disk, another file system."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luhyaapi import points
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from tests.support import scratch
from walrus.drivers import local
from walrus.drivers.base import PIECE
from walrus.drivers.local import LocalStore

ROOT = Path(__file__).resolve().parents[2]
DIES = """
import os, sys
from pathlib import Path
from luhyaapi import points
from walrus.drivers.local import LocalStore
folder, source, at, times = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], [None] * int(sys.argv[4])
store = LocalStore(folder, 0)
points.use(lambda name: name == at and (times.pop(), times or os._exit(9)))
store.put_file("packs/1", source) if source.name else store.put("packs/1", b"new")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(folder: Path) -> LocalStore:
    return LocalStore(folder, 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "source"
    file.write_bytes(b"new")
    return file


@pytest.fixture
def afar(tmp_path: Path) -> Iterator[Path]:
    """A folder in another file system than ``tmp_path``."""
    for base in (scratch.BASE, Path("/var/tmp"), Path("/run")):
        if base.stat().st_dev != tmp_path.stat().st_dev and os.access(base, os.W_OK):
            there = scratch.folder("afar", base)
            yield there
            for left in there.iterdir():
                left.unlink()
            there.rmdir()
            return
    raise AssertionError("No second file system: /dev/shm, /var/tmp and /run are all on that of the temporary folder.")


def parts(folder: Path) -> list[Path]:
    return list((folder / ".parts").iterdir())


def raises(kind: type[Trouble], code: str, call: Callable[..., object], *args: object) -> str:
    with pytest.raises(kind) as caught:
        call(*args)
    assert caught.value.code == code
    return caught.value.why


def dies(folder: Path, source: Path, at: str, time: int = 1) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, folder, source, at, str(time)], cwd=ROOT, timeout=30, check=False, capture_output=True)
    assert done.returncode == 9, done.stderr


@pytest.mark.parametrize(("at", "content"), [("object: before rename", b"old"), ("object: after rename", b"new")])
def test_a_death_while_bytes_are_put(store: LocalStore, folder: Path, at: str, content: bytes) -> None:
    store.put("packs/1", b"old")
    dies(folder, Path(), at)
    assert store.get("packs/1") == content
    assert list(store.names("")) == ["packs/1"]
    LocalStore(folder, 0)
    assert parts(folder) == []


@pytest.mark.parametrize(("at", "content"), [("object: before rename", b"old"), ("object: after rename", b"new")])
def test_a_death_while_a_file_is_moved_in(store: LocalStore, folder: Path, source: Path, at: str, content: bytes) -> None:
    store.put("packs/1", b"old")
    dies(folder, source, at)
    assert (store.get("packs/1"), source.exists()) == (content, content == b"old")


@pytest.mark.parametrize(("at", "time", "content"), [("object: before rename", 2, b"old"), ("object: after rename", 1, b"new")])
def test_a_death_while_a_file_is_copied_in(store: LocalStore, folder: Path, afar: Path, at: str, time: int, content: bytes) -> None:
    source = afar / "source"
    source.write_bytes(b"new")
    store.put("packs/1", b"old")
    dies(folder, source, at, time)
    assert (store.get("packs/1"), source.exists(), list(store.names(""))) == (content, True, ["packs/1"])
    LocalStore(folder, 0)
    assert parts(folder) == []


def test_a_file_of_another_file_system_is_copied(store: LocalStore, folder: Path, afar: Path) -> None:
    source, content = afar / "source", os.urandom(PIECE + 5)
    source.write_bytes(content)
    store.put_file("packs/1", source)
    assert (store.get("packs/1"), source.exists(), parts(folder)) == (content, False, [])


def test_an_error_in_the_middle_leaves_nothing(store: LocalStore, folder: Path, afar: Path) -> None:
    (source := afar / "source").write_bytes(b"new")

    def fails(_name: str) -> None:
        if parts(folder):
            raise OSError(errno.ENOSPC, "No space left on device")

    before = points.use(fails)
    try:
        raises(Failed, "disk_full", store.put, "a", b"1")
        raises(Failed, "disk_full", store.put_file, "a", source)
    finally:
        points.use(before)
    assert (list(store.names("")), parts(folder), source.read_bytes()) == ([], [], b"new")


def test_whoever_opens_sweeps_only_what_nobody_holds(store: LocalStore, folder: Path) -> None:
    (folder / ".parts/1.1").write_bytes(b"half")
    with store._part(0) as (_fd, held):
        LocalStore(folder, 0)
        assert parts(folder) == [held]


def test_a_half_file_swept_before_it_is_held_is_begun_again(store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, swept = fcntl.flock, []

    def late(fd: int, how: int) -> None:
        if not swept:
            swept.extend(parts(folder))
            swept[0].unlink()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    store.put("a", b"1")
    assert (store.get("a"), len(swept)) == (b"1", 1)


def test_a_half_file_that_goes_while_others_sweep(store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".parts/1.1").write_bytes(b"half")
    real = os.open

    def gone(path: Path, *args: int) -> int:
        Path(path).unlink()
        return real(path, *args)

    monkeypatch.setattr(os, "open", gone)
    store._sweep()
    assert parts(folder) == []


def test_the_number_of_somebody_dead_is_passed_over(store: LocalStore, folder: Path) -> None:
    taken = next(local._numbers) + 1
    (folder / ".parts" / f"{os.getpid()}.{taken}").write_bytes(b"half")
    store.put("a", b"1")
    assert store.get("a") == b"1"
    assert len(parts(folder)) == 1


def test_free_space_is_kept(folder: Path, source: Path, afar: Path) -> None:
    store = LocalStore(folder, 10**9)
    (far := afar / "source").write_bytes(b"new")
    assert "MiB are free" in raises(Failed, "disk_full", store.put, "a", b"1")
    raises(Failed, "disk_full", store.put_file, "a", far)
    store.put_file("b", source)
    assert (list(store.names("")), parts(folder), far.exists()) == (["b"], [], True), "what lies there already takes no more"


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_others_see_nothing_and_the_group_reads(folder: Path, source: Path, mask: int) -> None:
    source.chmod(0o666)
    before = os.umask(mask)
    try:
        store = LocalStore(folder, 0)
        store.put("packs/1", b"1")
        store.put_file("packs/2", source)
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.rglob("*")}
    assert modes == {".parts": 0o750, "packs_": 0o750, "1": 0o640, "2": 0o640}


def test_whoever_reads_while_it_is_replaced_gets_one_or_the_other(store: LocalStore, folder: Path) -> None:
    """Not asked of S3: Swift, with one replica, does not find an object for a moment while it is replaced."""
    contents, over = [bytes([n]) * (PIECE + n) for n in range(2)], threading.Event()
    store.put("a", contents[0])

    def write() -> None:
        while not over.is_set():
            for data in contents:
                LocalStore(folder, 0).put("a", data)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {store.get("a") for _ in range(50)}
    finally:
        over.set()
        writer.join()
    assert seen <= set(contents)


def test_its_owner_gets_the_file(store: LocalStore) -> None:
    store.put("packs/1", b"1")
    path = store.path("packs/1")
    assert path
    assert path.read_bytes() == b"1"
    assert store.path("packs/2") is None


def test_links_lead_nowhere(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    (secret := tmp_path / "secret").mkdir()
    (secret / "1").write_bytes(b"secret")
    (folder / "packs_").symlink_to(secret)
    (folder / "link").symlink_to(secret / "1")
    assert list(store.names("")) == []
    for call in (store.get, store.size, store.path, store.delete, lambda name: store.put(name, b"")):
        raises(Refused, "state", call, "packs/1")
    raises(Refused, "not_found", store.get, "link")
    assert store.path("link") is None
    store.put("link", b"mine")
    assert (store.get("link"), (secret / "1").read_bytes()) == (b"mine", b"secret")


def test_a_link_instead_of_the_half_files_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / ".parts").symlink_to(tmp_path)
    raises(Refused, "state", LocalStore, folder, 0)


def test_a_store_may_be_reached_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(tmp_path)
    LocalStore(tmp_path / "way" / "objects", 0).put("packs/1", b"1")
    assert LocalStore(folder, 0).get("packs/1") == b"1"


def test_what_is_not_ours_is_not_listed(store: LocalStore, folder: Path) -> None:
    (folder / "lost+found").mkdir()
    (folder / "lost+found/1").touch()
    (folder / "README").touch()
    os.mkfifo(folder / "pipe")
    assert list(store.names("")) == []
    raises(Refused, "not_found", store.get, "pipe")


@pytest.mark.parametrize(("number", "kind", "code"), [
    (errno.EIO, Unavailable, "interrupted"), (errno.EACCES, Refused, "forbidden"), (errno.EDQUOT, Failed, "disk_full"),
])
def test_what_the_file_system_says(
    store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Trouble], code: str,
) -> None:
    def fails(_fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    assert os.strerror(number) in raises(kind, code, store.put, "a", b"1")
    assert os.strerror(number) in raises(kind, code, store.put_file, "a", source)
    assert (list(store.names("")), source.read_bytes()) == ([], b"new")


def test_what_is_put_is_synced_with_every_name_above_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, synced, real = LocalStore(folder, 0), [], os.fsync

    def sync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name.split(".")[0] or ".parts")
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    store.put("packs/new/1", b"1")
    assert synced == [str(os.getpid()), "objects", "packs_", "new_"]
    LocalStore(folder, 0).put("packs/new/2", b"1")
    assert synced[5:] == [str(os.getpid()), "objects", "packs_", "new_"], "another process cannot know whether its names are on the disk"
    synced.clear()
    store.put("packs/new/3", b"1")
    store.delete("packs/new/3")
    assert synced == [str(os.getpid()), "new_", "new_"]
