"""What becomes of the files of an upload: noted before they go into the store, told once they are there, given back otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import Blob, PartFacts
from luhyaapi.errors import Failed, Unavailable
from luhyaapi.files import write_atomic
from luhyaapi.transfer.sparse import sync_folder
from walrus.services.blockstore import BlockStore


class Published(Model):
    """The files of a version as they are kept, and what became of each on its way."""

    blobs: tuple[Blob, ...]
    parts: tuple[PartFacts, ...]


class Receipts:
    """Below ``folder``, by the id of the upload or draft. Safe for several threads.

    A death between a file and its receipt leaves the note: who then fails gives back what it brought, and nothing that somebody
    else published meanwhile.
    """

    def __init__(self, folder: Path, store: BlockStore) -> None:
        self._told, self._notes, self._store = folder / "published", folder / "bringing", store
        self._lock = threading.Lock()
        for each in (self._told, self._notes):
            each.mkdir(parents=True, exist_ok=True)
        for half in self._notes.glob("*.part"):  # begun by a process that died
            half.unlink()

    def expect(self, ident: str, sha256s: Iterable[str]) -> None:
        """Note which of these files the store does not have: they are brought now. Raises Failed(disk_full)."""
        with self._lock:
            noted = self._noted(ident)
            fresh = {sha256 for sha256 in sha256s if not self._store.has(sha256)}
            ours = (noted | fresh) - self._published(noted)
            if ours != noted:
                try:
                    write_atomic(self._note(ident), json.dumps(sorted(ours)).encode())
                except OSError as e:
                    raise Failed("disk_full", "The image could not be stored", str(e)) from e

    def has(self, ident: str) -> bool:
        """Whether it was published."""
        return self._file(ident).is_file()

    def published(self, ident: str) -> Published | None:
        """What an earlier publish found, if all of it is still here."""
        published = _read(self._file(ident))
        if published and all(self._store.has(b.sha256) for b in published.blobs):
            return published
        self._file(ident).unlink(missing_ok=True)
        return None

    def write(self, ident: str, published: Published) -> None:
        """Remember what was found, before the upload goes: a second publish says the same.

        Raises Failed(disk_full), Unavailable(interrupted) when a file went meanwhile, since another upload that brought it gave it back.
        """
        file = self._file(ident)
        fresh = file.with_suffix(f".{os.getpid()}")
        with self._lock:
            if not all(self._store.has(b.sha256) for b in published.blobs):
                raise Unavailable("interrupted", "A file of the image went meanwhile", "it is brought again")
            try:
                with fresh.open("w", encoding="ascii") as opened:
                    opened.write(published.model_dump_json())
                    opened.flush()
                    os.fsync(opened.fileno())
                fresh.rename(file)
                sync_folder(self._told)
            except OSError as e:
                for each in (fresh, file):
                    each.unlink(missing_ok=True)
                raise Failed("disk_full", "The image could not be stored", str(e)) from e
        self._note(ident).unlink(missing_ok=True)

    def give_back(self, ident: str) -> None:
        """It comes to nothing: what it brought goes, but for what is published."""
        with self._lock:
            self._give_back(ident)

    def sweep(self, before: float) -> None:
        """Forget what is older than that moment (seconds since 1970); what was brought and never published goes.

        Notes first: the receipt of who published the same since is younger than the note.
        """
        with self._lock:
            for note in self._notes.glob("*.json"):
                if _age(note) < before:
                    self._give_back(note.stem)
            for file in self._told.iterdir():
                if _age(file) < before:
                    file.unlink(missing_ok=True)

    def _give_back(self, ident: str) -> None:
        noted = self._noted(ident)
        for sha256 in noted - self._published(noted):
            self._store.remove(sha256)
        self._note(ident).unlink(missing_ok=True)

    def _published(self, sha256s: set[str]) -> set[str]:
        """Those that a receipt names. One that cannot be read may name them all."""
        found = set[str]()
        for file in self._told.glob("*.json") if sha256s else ():
            with contextlib.suppress(FileNotFoundError):
                try:
                    found |= {b.sha256 for b in Published.model_validate_json(file.read_bytes()).blobs}
                except ValueError:
                    return sha256s
        return found

    def _file(self, ident: str) -> Path:
        return self._told / f"{ident}.json"

    def _note(self, ident: str) -> Path:
        return self._notes / f"{ident}.json"

    def _noted(self, ident: str) -> set[str]:
        try:
            return set(json.loads(self._note(ident).read_text("ascii")))
        except (OSError, ValueError):
            return set()


def _read(file: Path) -> Published | None:
    try:
        return Published.model_validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # it went meanwhile
        return float("inf")
