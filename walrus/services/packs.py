"""Packs: many frames in one object, with a table of what is in it at its end; and the list of where each block lies."""

from __future__ import annotations

import sqlite3
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from blake3 import blake3

from luhyaapi import log, points
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer import frames
from luhyaapi.transfer.blocks import DIGEST
from walrus.drivers.base import ObjectStore

_log = log.get(__name__)
T = TypeVar("T")
LARGEST = 64 * 1024 * 1024
"""Bytes of a pack, at most about."""
_TAIL = struct.Struct("<QI8s")
_MAGIC = b"eduPack1"
_ENTRY = struct.Struct("<BI")
_ASKED_AT_ONCE = 500
_SCHEMA = """
create table if not exists packs (number integer primary key, name text not null unique, size integer not null);
create table if not exists blocks (
    digest blob primary key, pack integer not null, offset integer not null, length integer not null, slot integer not null
) without rowid;
create index if not exists blocks_of_pack on blocks (pack);
create table if not exists live (digest blob primary key) without rowid;
create table if not exists lost (digest blob primary key) without rowid;
create table if not exists scrubbed (one integer primary key check (one = 1), pack text not null, began_at real not null);
"""


@dataclass(frozen=True)
class Frame:
    """Where a frame lies: ``length`` bytes at ``offset`` of a pack; the digests of its blocks in order."""

    offset: int
    length: int
    names: tuple[bytes, ...]


@dataclass(frozen=True)
class Place:
    """Where a block lies: in the frame of that pack, the ``slot``-th of its blocks."""

    pack: str
    offset: int
    length: int
    slot: int


class PackWriter:
    """Frames become packs, which ``places`` knows as soon as they are stored."""

    def __init__(self, objects: ObjectStore, places: Places, scratch: Path) -> None:
        self._objects, self._places, self._scratch = objects, places, scratch
        self._file = scratch.open("wb")
        self._frames: list[Frame] = []
        self._end = 0
        self.stored = 0
        """Bytes of the packs that are stored."""

    def add(self, frame: bytes) -> None:
        """One more frame. Raises Failed(disk_full) and whatever the store of objects says."""
        self._file.write(frame)
        self._frames.append(Frame(self._end, len(frame), tuple(frames.names(frame))))
        self._end += len(frame)
        if self._end >= LARGEST:
            self.finish()

    def finish(self) -> None:
        """Store what was collected; nothing of it is lost from here on."""
        if not self._frames:
            return
        table = b"".join(_ENTRY.pack(len(f.names), f.length) + b"".join(f.names) for f in self._frames)
        self._file.write(table + _TAIL.pack(self._end, len(self._frames), _MAGIC))
        self._file.close()
        name, size = f"packs/{blake3(table).hexdigest()}", self._scratch.stat().st_size
        points.at("pack: before put")
        self._objects.put_file(name, self._scratch)
        points.at("pack: after put")
        self._places.add(name, size, self._frames)
        self.stored += size
        self._file, self._frames, self._end = self._scratch.open("wb"), [], 0

    def close(self) -> None:
        """Throw away what was not finished."""
        self._file.close()
        self._scratch.unlink(missing_ok=True)


def table(objects: ObjectStore, name: str) -> list[Frame]:
    """The frames of a stored pack. Raises Failed(digest) for one that is damaged, and whatever the store of objects says."""
    size = objects.size(name)
    tail = objects.get(name, max(size - _TAIL.size, 0))
    if len(tail) != _TAIL.size:
        raise _damaged(name)
    start, count, magic = _TAIL.unpack(tail)
    data = objects.get(name, start, size - _TAIL.size - start) if magic == _MAGIC and start < size else b""
    if name != f"packs/{blake3(data).hexdigest()}":
        raise _damaged(name)
    found, at, offset = [], 0, 0
    for _ in range(count):
        blocks, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        names = tuple(data[n : n + DIGEST] for n in range(at, at + blocks * DIGEST, DIGEST))
        found.append(Frame(offset, length, names))
        at, offset = at + blocks * DIGEST, offset + length
    return found


def walked(objects: ObjectStore, name: str) -> Iterator[Frame]:
    """The frames of a stored pack as they themselves tell, up to the first that is damaged."""
    offset = 0
    while True:
        head = objects.get(name, offset, frames.HEAD.size)
        try:
            length = frames.size(head)
            frame = objects.get(name, offset, length)
            frames.unpack(frame)
        except Failed:
            return
        yield Frame(offset, length, tuple(frames.names(frame)))
        offset += length


def only(frame: bytes, wanted: set[bytes]) -> bytes:
    """A frame of these blocks of it alone."""
    kept = [(name, block) for name, block in frames.unpack(frame) if name in wanted]
    if len(kept) == len(frames.names(frame)):
        return frame
    return frames.pack([name for name, _ in kept], b"".join(block for _, block in kept), frames.AT_PUBLISH)


def renew(objects: ObjectStore, places: Places, pack: str, scratch: Path) -> None:
    """Make a pack whose table is damaged anew from its frames, which are not; it may be the same one then."""
    writer = PackWriter(objects, places, scratch)
    try:
        for offset, length in places.frames_in(pack):
            writer.add(objects.get(pack, offset, length))
        writer.finish()
    finally:
        writer.close()
    if readable(lambda: table(objects, pack)) is None:
        places.drop(pack)
        objects.delete(pack)


def readable(read: Callable[[], T]) -> T | None:
    """What is read; None when it is damaged or gone. Asked twice: what a cable or a memory spoiled once is not on the disk."""
    for _ in range(2):
        try:
            return read()
        except (Failed, Refused) as e:
            if e.code not in ("digest", "not_found"):
                raise
    return None


def _damaged(name: str) -> Failed:
    return Failed("digest", "A pack of the image store is damaged", f"{name} has not the table it had when it was written")


class Places:
    """Where each block lies, made from the packs' tables and made anew when it is lost. Safe for several threads."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.executescript("pragma journal_mode = wal; pragma synchronous = normal;" + _SCHEMA)

    def close(self) -> None:
        """No more."""
        self._db.close()

    def adjust(self, objects: ObjectStore) -> None:
        """Make it agree with the packs that are there."""
        there = set(objects.names("packs/"))
        known = {name for (name,) in self._ask("select name from packs")}
        for name in known - there:
            self.drop(name)
        for name in sorted(there - known):
            try:
                found = table(objects, name)
            except Failed as e:
                _log.error("table of a pack is damaged", name=name, why=e.why)
                found = list(walked(objects, name))
            self.add(name, objects.size(name), found)

    def add(self, name: str, size: int, found: Iterable[Frame]) -> None:
        """A pack that is stored."""
        with self._changing():
            self._db.execute("insert or replace into packs (name, size) values (?, ?)", (name, size))
            (number,) = self._db.execute("select number from packs where name = ?", (name,)).fetchone()
            self._db.executemany(
                "insert or replace into blocks values (?, ?, ?, ?, ?)",
                ((block, number, f.offset, f.length, slot) for f in found for slot, block in enumerate(f.names)),
            )
            self._db.executemany("delete from lost where digest = ?", ((block,) for f in found for block in f.names))

    def drop(self, name: str) -> None:
        """A pack that goes."""
        with self._changing():
            self._db.execute("delete from blocks where pack = (select number from packs where name = ?)", (name,))
            self._db.execute("delete from packs where name = ?", (name,))

    def find(self, names: Iterable[bytes]) -> dict[bytes, Place]:
        """Where these blocks lie, of those that are here."""
        wanted, found = list(names), dict[bytes, Place]()
        for at in range(0, len(wanted), _ASKED_AT_ONCE):
            some = wanted[at : at + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._ask(
                f"select digest, name, offset, length, slot from blocks join packs on pack = number where digest in ({marks})",  # noqa: S608 - marks only
                some,
            )
            found |= {row[0]: Place(*row[1:]) for row in rows}
        return found

    # ---- damage

    def frames_in(self, name: str) -> list[tuple[int, int]]:
        """The frames of a pack in which blocks are looked for, as (offset, length)."""
        return self._ask(
            "select distinct offset, length from blocks where pack = (select number from packs where name = ?) order by offset", (name,)
        )

    def lose(self, name: str, offset: int) -> None:
        """A frame is damaged: its blocks are not here any more, until they come again."""
        with self._changing():
            where = "from blocks where pack = (select number from packs where name = ?) and offset = ?"
            self._db.execute(f"insert or ignore into lost select digest {where}", (name, offset))
            self._db.execute(f"delete {where}", (name, offset))

    def miss(self, names: Iterable[bytes]) -> None:
        """Have those that are not here among the lost."""
        wanted = set(names)
        self._do_each("insert or ignore into lost values (?)", wanted - self.find(wanted).keys())

    def lost(self) -> set[bytes]:
        """What is needed, or was when it was lost, and is not here."""
        return {digest for (digest,) in self._ask("select digest from lost")}

    def found(self, names: Iterable[bytes]) -> None:
        """They are here again, or nobody needs them."""
        self._do_each("delete from lost where digest = ?", names)

    def pack_after(self, name: str) -> str:
        """The next pack in the order of names, an empty text behind the last."""
        rows = self._ask("select name from packs where name > ? order by name limit 1", (name,))
        return str(rows[0][0]) if rows else ""

    def scrubbed(self) -> tuple[str, float]:
        """How far the search for damage is: the last pack that was read (empty: it is over), and when it began."""
        rows = self._ask("select pack, began_at from scrubbed")
        return (str(rows[0][0]), float(rows[0][1])) if rows else ("", 0.0)

    def scrubbed_to(self, name: str, began_at: float) -> None:
        """The search for damage, begun then, is that far."""
        self._ask("insert or replace into scrubbed values (1, ?, ?)", (name, began_at))

    def used(self) -> int:
        """Bytes of all packs."""
        return int(self._ask("select coalesce(sum(size), 0) from packs")[0][0])

    def mark(self, live: Iterable[Iterable[bytes]]) -> list[tuple[str, int, int]]:
        """Each pack with how many blocks lie in it and how many of them are ``live``, the emptiest first."""
        with self._changing():
            self._db.execute("delete from live")
            for names in live:
                self._db.executemany("insert or ignore into live values (?)", ((name,) for name in names))
            return self._db.execute(
                "select name, count(blocks.digest), count(live.digest) from packs left join blocks on pack = number "
                "left join live on live.digest = blocks.digest group by number order by count(live.digest), number"
            ).fetchall()

    def live_in(self, name: str) -> list[tuple[bytes, int, int]]:
        """The live blocks of a pack after :meth:`mark`, as (digest, offset, length of its frame), in the order they lie in it."""
        return self._ask(
            "select blocks.digest, offset, length from blocks join live on live.digest = blocks.digest "
            "where pack = (select number from packs where name = ?) order by offset, slot", (name,),
        )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """All of it, or nothing. Raises Failed(disk_full)."""
        try:
            with self._lock, self._db:
                self._db.execute("begin")
                yield
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise
            raise Failed("disk_full", "The list of blocks could not be written", str(e)) from e

    def _do_each(self, question: str, names: Iterable[bytes]) -> None:
        with self._changing():
            self._db.executemany(question, ((name,) for name in names))

    def _ask(self, question: str, values: Iterable[object] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(question, tuple(values)).fetchall()


def grouped(wanted: Iterable[tuple[bytes, Place]]) -> Iterator[tuple[Place, list[bytes]]]:
    """Blocks by the frame they lie in, in the order the frames are first needed."""
    by_frame: dict[tuple[str, int], tuple[Place, list[bytes]]] = {}
    for name, place in wanted:
        by_frame.setdefault((place.pack, place.offset), (place, []))[1].append(name)
    yield from by_frame.values()
