"""SQLite beside every role: orders accepted and how they ended, reports not yet confirmed; what makes handling idempotent."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from luhyaapi import clock, log, points
from luhyaapi.contracts.base import Envelope

_TABLES = """
create table if not exists commands (
  id text primary key, kind text not null, task text not null, subject text not null, lane text not null,
  envelope text not null, state text not null, outcome text not null default '', due real not null,
  attempts integer not null default 0, accepted_at real not null, ended_at real not null default 0);
create index if not exists commands_open on commands (state, due);
create table if not exists reports (
  n integer primary key autoincrement, subject text not null, message blob not null, at real not null);
create table if not exists tombstones (task text primary key, at real not null);
create table if not exists facts (name text primary key, value text not null);
"""
_log = log.get(__name__)
ACCEPTED, PENDING, DONE, UNREADABLE = "accepted", "pending", "done", "unreadable"
KEEP_S = 7 * 86400.0


Opener = Callable[[Path], sqlite3.Connection]


def _durable(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=20, isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    return db


_opener: Opener = _durable


def use(opener: Opener) -> Opener:
    """Have journals opened by ``opener(path)`` instead, in autocommit; returns the one that was there. For the simulator."""
    global _opener  # the one seam between a journal and its disk
    before, _opener = _opener, opener
    return before


@dataclass(frozen=True)
class Row:
    """One accepted order."""

    id: str
    kind: str
    task: str
    subject: str
    lane: str
    envelope: Envelope
    state: str
    outcome: str
    due: float
    attempts: int


_COLUMNS = tuple(f.name for f in fields(Row))
_NAMES = ", ".join(_COLUMNS)


class Journal:
    """Durable before anything is acknowledged: WAL, fully synchronous. Safe for threads: one connection each."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        # Before the first connection: the write-ahead files beside it take its mode.
        path.touch(mode=0o600)
        self._local = threading.local()
        with self._write() as db:
            db.executescript(_TABLES)

    def _connect(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = _opener(self._path)
        return db

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        db = self._connect()
        points.at("journal: before write")
        db.execute("begin immediate")
        try:
            yield db
            points.at("journal: before commit")
        except BaseException:
            db.execute("rollback")
            raise
        if db.in_transaction:
            db.execute("commit")
        points.at("journal: after commit")

    def close(self) -> None:
        """Let go of the file, in this thread."""
        if (db := getattr(self._local, "db", None)) is not None:
            db.close()
            del self._local.db

    def next_epoch(self) -> int:
        """Raised at each start, and to the time: reports of a later life are always newer, also than those of a life that a restored copy forgot."""
        with self._write() as db:
            first = int(clock.now())
            db.execute("insert into facts values ('epoch', ?) on conflict (name) do update set value = max(value + 1, ?)", (first, first))
            return int(db.execute("select value from facts where name = 'epoch'").fetchone()[0])

    def accept(self, envelope: Envelope, lane: str) -> Row | None:
        """Keep an order; None when it is new, else the row that was there."""
        now = clock.now()
        with self._write() as db:
            known = self._row(db, envelope.id)
            if known is None:
                db.execute(
                    "insert into commands (id, kind, task, subject, lane, envelope, state, due, accepted_at)"
                    " values (?,?,?,?,?,?,?,?,?)",
                    (envelope.id, envelope.kind, envelope.task, envelope.subject, lane, envelope.model_dump_json(),
                     ACCEPTED, now, now),
                )
        return known

    def row(self, command: str) -> Row | None:
        """One order, or None."""
        return self._row(self._connect(), command)

    def open_rows(self, state: str = ACCEPTED) -> list[Row]:
        """Orders not ended yet, oldest first."""
        db = self._connect()
        found = db.execute(f"select {_NAMES} from commands where state = ? order by accepted_at, rowid", (state,)).fetchall()  # noqa: S608 - our own names
        return [r for row in found if (r := self._readable(row))]

    def open_subjects(self) -> set[str]:
        """What open orders are about: reconcilers leave these alone."""
        db = self._connect()
        return {s for (s,) in db.execute("select subject from commands where state = ?", (ACCEPTED,)) if s}

    def postpone(self, command: str, until: float) -> None:
        """Try an order again later."""
        with self._write() as db:
            db.execute("update commands set due = ?, attempts = attempts + 1 where id = ?", (until, command))

    def hasten(self, subject: str = "") -> None:
        """Try all that wait again now, or those on a subject."""
        of, now = "state = ? and due > ? and ? in ('', subject)", clock.now()
        if self._connect().execute(f"select 1 from commands where {of} limit 1", (ACCEPTED, now, subject)).fetchone():  # noqa: S608 - our own words
            with self._write() as db:
                db.execute(f"update commands set due = ? where {of}", (now, ACCEPTED, now, subject))  # noqa: S608 - our own words

    def pend(self, command: str) -> None:
        """A flow goes on with it and will end it."""
        with self._write() as db:
            db.execute("update commands set state = ? where id = ? and state = ?", (PENDING, command, ACCEPTED))

    def forget(self, command: str) -> None:
        """What would have ended it is gone: it is as if it never came, and is said again as things are by then."""
        with self._write() as db:
            db.execute("delete from commands where id = ? and state = ?", (command, PENDING))

    def end(self, command: str, outcome: str, report: tuple[str, bytes] | None = None) -> bool:
        """Keep how an order ended, and its report, in one transaction; False when it had ended before."""
        with self._write() as db:
            changed = db.execute(
                "update commands set state = ?, outcome = ?, ended_at = ? where id = ? and state != ?",
                (DONE, outcome, clock.now(), command, DONE),
            ).rowcount
            if changed and report:
                self._put(db, *report)
        return bool(changed)

    def bury(self, task: str) -> None:
        """Refuse this task's orders from now on."""
        with self._write() as db:
            db.execute("insert or ignore into tombstones values (?, ?)", (task, clock.now()))

    def is_buried(self, task: str) -> bool:
        """Whether the task was cancelled."""
        return bool(self._connect().execute("select 1 from tombstones where task = ?", (task,)).fetchone())

    def put_report(self, subject: str, message: bytes) -> None:
        """Keep a report until the boss's broker has it."""
        with self._write() as db:
            self._put(db, subject, message)

    def put_reports(self, told: Sequence[tuple[str, bytes]]) -> None:
        """Keep many, each ``(subject, message)``, in one transaction."""
        with self._write() as db:
            for subject, message in told:
                self._put(db, subject, message)

    def reports(self, limit: int = 200) -> list[tuple[int, bytes]]:
        """Reports not confirmed yet, in order."""
        return self._connect().execute("select n, message from reports order by n limit ?", (limit,)).fetchall()

    def report_confirmed(self, numbers: list[int]) -> None:
        """The broker has them."""
        with self._write() as db:
            db.executemany("delete from reports where n = ?", [(n,) for n in numbers])

    def counts(self) -> tuple[int, int]:
        """Open orders and unconfirmed reports."""
        db = self._connect()
        return (
            db.execute("select count(*) from commands where state = ?", (ACCEPTED,)).fetchone()[0],
            db.execute("select count(*) from reports").fetchone()[0],
        )

    def sweep(self) -> None:
        """Forget what is older than a week."""
        old = clock.now() - KEEP_S
        with self._write() as db:
            db.execute("delete from commands where state = ? and ended_at < ?", (DONE, old))
            db.execute("delete from tombstones where at < ?", (old,))

    def _readable(self, found: tuple[Any, ...]) -> Row | None:
        """One row; what another version of us wrote and we cannot read is set aside, so that it holds up no other."""
        try:
            return _as_row(found)
        except ValueError as e:
            command = found[0]
            _log.error("an order in the journal cannot be read", cmd=command, why=str(e)[:300])
            with self._write() as writing:
                writing.execute("update commands set state = ? where id = ?", (UNREADABLE, command))
            return None

    @staticmethod
    def _put(db: sqlite3.Connection, subject: str, message: bytes) -> None:
        db.execute("insert into reports (subject, message, at) values (?,?,?)", (subject, message, clock.now()))

    @staticmethod
    def _row(db: sqlite3.Connection, command: str) -> Row | None:
        found = db.execute(f"select {_NAMES} from commands where id = ?", (command,)).fetchone()  # noqa: S608 - our own names
        return _as_row(found) if found else None


def _as_row(found: tuple[Any, ...]) -> Row:
    row: dict[str, Any] = dict(zip(_COLUMNS, found, strict=True))
    return Row(**row | {"envelope": Envelope.model_validate_json(row["envelope"])})
