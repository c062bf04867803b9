"""Files that clusters push up, block by block; each is in the store as soon as it is acknowledged."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luhyaapi import clock, points
from luhyaapi.contracts.specs import MIB
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.files import write_atomic
from luhyaapi.transfer import frames, giver
from luhyaapi.transfer.blocks import Index
from luhyaapi.transfer.pushing import lacks
from walrus.services.blockstore import BlockStore

_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_AT_MOST = 64


@dataclass
class Draft:
    """A file that is coming: its index, the first place of each block that is lacking, and the bytes by which the store grew."""

    index: Index
    lacking: dict[bytes, int]
    grew: int = 0
    names: frozenset[bytes] = frozenset()
    turn: threading.Lock = field(default_factory=threading.Lock)


class Drafts:
    """Drafts below ``folder``; their blocks lie in ``store``, which keeps them as long as the draft is there. Safe for several threads.

    After a death each goes on with what was acknowledged. ``largest_mib`` bounds a file (MiB).
    """

    def __init__(self, folder: Path, store: BlockStore, largest_mib: int) -> None:
        self._folder, self._store, self._largest = folder, store, largest_mib * MIB
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob("*.part"):
            half.unlink()
        self._lock = threading.Lock()
        self._open: dict[str, Draft] = {}
        for file in folder.glob("*.json"):
            self._load(file)

    def begin(self, draft: str, size: int, name: str, index: bytes) -> dict[str, Any]:
        """Begin with a squeezed index, or find it begun; another index begins anew. See :func:`luhyaapi.transfer.pushing.lacks`.

        Raises Refused(invalid | quota), Failed(digest | disk_full).
        """
        if not _ID.fullmatch(draft) or not 0 < size <= self._largest:
            raise Refused("invalid", "That cannot be a draft", f"an id, and 1 byte to {self._largest // MIB} MiB")
        with self._lock:
            found = self._open.get(draft)
            if found is None or found.index.name != name:
                if found is None and len(self._open) >= _AT_MOST:
                    raise Refused("quota", "Too many drafts are open", f"at most {_AT_MOST}")
                found = self._begun(draft, giver.unsqueeze(index, size, name))
        return lacks(sorted(found.lacking.values()))

    def take(self, draft: str, data: bytes) -> None:
        """Keep the blocks in these frames, on the disk when this returns.

        Raises Refused(not_found) for an unknown draft, Refused(invalid) for blocks that are not of it, Failed(digest), Failed(disk_full),
        Unavailable(busy) while somebody else sends.
        """
        with self._at(draft) as found:
            reader = frames.Reader()
            whole = list(reader.feed(data))
            if reader.rest:
                raise Failed("digest", "Other bytes came than expected", "the last frame is cut off")
            found.names = found.names or frozenset(found.index)
            foreign = next((frame for frame in whole if not found.names.issuperset(frames.names(frame))), None)
            if foreign is not None:
                frames.unpack(foreign)  # a name may have been spoiled on its way
                raise Refused("invalid", "Those blocks are not of this file")
            found.grew += self._store.take([frame for frame in whole if any(name in found.lacking for name in frames.names(frame))])
            for frame in whole:
                for name in frames.names(frame):
                    found.lacking.pop(name, None)
            self._note(draft, found)

    def has(self, draft: str) -> bool:
        """Whether it is under way."""
        return draft in self._open

    def find(self, draft: str) -> Draft:
        """A draft that is whole. Raises Refused(not_found), Refused(state) while blocks are lacking."""
        found = self._open.get(draft)
        if found is None:
            raise Refused("not_found", "There is no such draft", repr(draft[:64]))
        if found.lacking:
            raise Refused("state", "The file has not come whole", f"{len(found.lacking)} blocks are lacking")
        return found

    def abandon(self, draft: str) -> None:
        """Forget it; harmless when there is none."""
        if not _ID.fullmatch(draft):
            return
        with self._lock:
            for ending in ("json", "index"):
                (self._folder / f"{draft}.{ending}").unlink(missing_ok=True)
            self._open.pop(draft, None)
            self._store.release(draft)

    def sweep(self, idle_s: float) -> list[str]:
        """Forget those that nobody touched for ``idle_s`` seconds; their ids."""
        before = clock.now() - idle_s
        old = [file.stem for file in self._folder.glob("*.json") if file.stat().st_mtime < before]
        for draft in old:
            self.abandon(draft)
        return old

    def _begun(self, draft: str, index: Index) -> Draft:
        found = Draft(index, self._store.reserve(draft, index))
        self._write(f"{draft}.index", index.data)
        self._note(draft, found)
        self._open[draft] = found
        points.at("draft: begun")
        return found

    def _note(self, draft: str, found: Draft) -> None:
        said = {"size": found.index.size, "name": found.index.name, "grew": found.grew}
        self._write(f"{draft}.json", json.dumps(said).encode())

    def _write(self, name: str, data: bytes) -> None:
        points.at("draft: before write")
        try:
            write_atomic(self._folder / name, data)
        except OSError as e:
            (self._folder / f"{name}.part").unlink(missing_ok=True)
            raise Failed("disk_full", "The draft could not be stored", str(e)) from e
        points.at("draft: written")

    def _load(self, file: Path) -> None:
        """One that a power cut spoiled is begun again by its sender."""
        try:
            said = json.loads(file.read_text("ascii"))
            index = Index.checked(said["size"], file.with_suffix(".index").read_bytes(), said["name"])
        except (OSError, ValueError, KeyError, Failed):
            self.abandon(file.stem)
            return
        self._open[file.stem] = Draft(index, self._store.reserve(file.stem, index), int(said["grew"]))

    @contextmanager
    def _at(self, draft: str) -> Iterator[Draft]:
        found = self._open.get(draft)
        if found is None:
            raise Refused("not_found", "There is no such draft", repr(draft[:64]))
        if not found.turn.acquire(blocking=False):
            raise Unavailable("busy", "Somebody else is sending this file just now")
        try:
            yield found
        finally:
            found.turn.release()
