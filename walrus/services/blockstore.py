"""Files of images as blocks: each block kept once, a file as a signed manifest over the index of its blocks."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock, ids, log, points
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import frames
from luhyaapi.transfer.base import Cancelled, Progress, never, no_progress
from luhyaapi.transfer.blocks import BLOCK, GROUP, HOLE, Index, count, digests, groups, spans, split
from luhyaapi.transfer.giver import squeeze, unsqueeze
from walrus.drivers.base import ObjectStore
from walrus.services.manifests import Manifest, opened, seal
from walrus.services.packs import PackWriter, Place, Places, grouped, only, readable, renew

_log = log.get(__name__)
_MIB = 1024 * 1024
_WINDOW = 16 * 1024
_READ_AT_ONCE = 8 * _MIB
_THREADS = min(os.cpu_count() or 1, 4)


@dataclass(frozen=True)
class Added:
    """A file that came: its ``index``, and the bytes by which the store ``grew``."""

    index: Index
    grew: int


class BlockStore:
    """Files of images in ``objects``; ``folder`` holds what can be made anew: ``places``, where each block lies. Safe for several threads.

    What is there is read when it is first needed, or by :meth:`open`. ``key`` signs the manifests. ``quota_mib`` bounds what all
    packs take, ``keep_free_mib`` is never taken from the disk of ``folder`` (MiB). Every method raises what the store of objects says.
    """

    def __init__(self, objects: ObjectStore, folder: Path, key: Ed25519PrivateKey, quota_mib: int, keep_free_mib: int) -> None:
        self.objects, self._folder, self._key = objects, folder, key
        self._quota, self._keep_free = quota_mib * _MIB, keep_free_mib * _MIB
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob("*.pack"):
            half.unlink()
        self.places = Places(folder / "places.sqlite")
        self._damaged: list[str] = []
        self._reserved: dict[str, Index] = {}
        self._is_loose = True
        self._known: dict[str, Manifest] | None = None
        self._opening = threading.RLock()

    @property
    def is_open(self) -> bool:
        """Whether it was read what is there."""
        return self._known is not None

    def open(self) -> None:
        """Read what is there, unless that was done."""
        with self._opening:
            if self._known is None:
                self.places.adjust(self.objects)
                self._damaged.clear()
                self._known = {m.sha256: m for name in self.objects.names("manifests/") if (m := self._opened(name))}

    def close(self) -> None:
        """No more."""
        self.places.close()

    # ---- files

    def sha256s(self) -> list[str]:
        """Every file that is here."""
        return sorted(self._manifests)

    def has(self, sha256: str) -> bool:
        """Whether that file is here."""
        return sha256 in self._manifests

    def size(self, sha256: str) -> int:
        """Bytes of a file. Raises Refused(not_found)."""
        return self._manifest(sha256).size

    def index(self, sha256: str) -> Index:
        """The index of a file. Raises Refused(not_found), Failed(digest)."""
        manifest = self._manifest(sha256)
        return unsqueeze(self.objects.get(f"indexes/{manifest.index}"), manifest.size, manifest.index)

    def used(self) -> int:
        """Bytes of all packs."""
        return self.places.used()

    def room(self, wanted: int) -> None:
        """Raises Failed(disk_full) unless ``wanted`` more bytes have room."""
        self.open()
        missing = max(self.used() + wanted - self._quota, self._keep_free + wanted - shutil.disk_usage(self._folder).free)
        if missing > 0:
            raise Failed("disk_full", "There is no room for the image", f"{wanted // _MIB} MiB are needed, {missing // _MIB + 1} MiB are missing")

    def add(self, file: Path, sha256: str, *, cancelled: Cancelled = never, on_progress: Progress = no_progress) -> Added:
        """Keep what ``file`` holds. What is here of it is not kept again. Raises Refused(cancelled), Failed(disk_full)."""
        with self._locked(fcntl.LOCK_SH):
            if self.has(sha256) and not self.is_hit(sha256, self.places.lost()):
                return Added(self.index(sha256), 0)
            writer = PackWriter(self.objects, self.places, self._folder / f"{ids.secret()}.pack")
            loose, self._is_loose = self._is_loose, True
            try:
                index = self._pack(file, writer, cancelled, on_progress)
                writer.finish()
            except OSError as e:
                raise Failed("disk_full", "The image could not be stored", str(e)) from e
            finally:
                writer.close()
            self._put_index(index)
            self._publish(Manifest(sha256, index.size, index.name, BLOCK, clock.now()))
            self._is_loose = loose
        return Added(index, writer.stored)

    def reserve(self, owner: str, index: Index) -> dict[bytes, int]:
        """Keep what is here of a file that is coming, until :meth:`release`; the first place of each block that is lacking."""
        with self._locked(fcntl.LOCK_SH):
            self._reserved[owner] = index
            places = dict[bytes, int]()
            for number, name in enumerate(index):
                if name != HOLE:
                    places.setdefault(name, number)
            here = self.places.find(places)
            return {name: number for name, number in places.items() if name not in here}

    def release(self, owner: str) -> None:
        """The file came, or comes no more."""
        if self._reserved.pop(owner, None) is not None:
            self._is_loose = True

    def take(self, whole: Sequence[bytes]) -> int:
        """Keep the blocks of these frames that are not here, on the disk when this returns; bytes by which the store grew.

        Raises Failed(digest) for a damaged one, Failed(disk_full).
        """
        with self._locked(fcntl.LOCK_SH):
            self.room(sum(len(frame) for frame in whole))
            writer = PackWriter(self.objects, self.places, self._folder / f"{ids.secret()}.pack")
            try:
                for frame in whole:
                    names = [name for name, _ in frames.unpack(frame)]
                    here = self.places.find(names)
                    if lacking := {name for name in names if name not in here and name != HOLE}:
                        writer.add(only(frame, lacking))
                writer.finish()
            except OSError as e:
                raise Failed("disk_full", "The image could not be stored", str(e)) from e
            finally:
                writer.close()
            return writer.stored

    def keep(self, sha256: str, index: Index) -> None:
        """Have a file whose blocks are all here. Raises Failed(digest) when one is not."""
        with self._locked(fcntl.LOCK_SH):
            names = {name for name in index if name != HOLE}
            lost = next(iter(names - self.places.find(names).keys()), None)
            if lost is not None:
                raise Failed("digest", "A block of the image is lost", lost.hex())
            if not self.has(sha256) or self.is_hit(sha256, self.places.lost()):
                self._put_index(index)
                self._publish(Manifest(sha256, index.size, index.name, BLOCK, clock.now()))

    def sha256_of(self, index: Index, *, cancelled: Cancelled = never, on_progress: Progress = no_progress) -> str:
        """The sha256 of a file whose blocks are all here, in hexadecimal digits. Raises Refused(cancelled), Failed(digest)."""
        found, done = hashlib.sha256(), 0
        for piece in self._read(index, 0, index.size):
            found.update(piece)
            done += len(piece)
            if cancelled():
                raise Refused("cancelled", "Checking the image was cancelled")
            on_progress(done, index.size)
        return found.hexdigest()

    def remove(self, sha256: str) -> bool:
        """Forget a file; whether it was here. Its blocks go by :meth:`collect`."""
        self._is_loose = True
        manifests = self._manifests
        with self._opening:
            here = manifests.pop(sha256, None)
            self.objects.delete(f"manifests/{sha256}")
        return here is not None

    # ---- bytes

    def frames(self, sha256: str, wanted: Sequence[int]) -> Iterator[bytes]:
        """See :class:`luhyaapi.transfer.giver.Giver`. Raises Failed(digest) when a block is lost."""
        return self._frames(self.index(sha256), wanted)

    def read(self, sha256: str, start: int, length: int) -> Iterator[bytes]:
        """``length`` plain bytes of a file from ``start`` on. Raises Refused(not_found), Failed(digest)."""
        return self._read(self.index(sha256), start, length)

    def _read(self, index: Index, start: int, length: int) -> Iterator[bytes]:
        for first, end in spans(range(start // BLOCK, count(start + length))):
            names = [index[n] for n in range(first, end)]
            found = {n: b for f in self._frames(index, range(first, end)) for n, b in frames.unpack(f)}
            whole = b"".join(bytes(index.length(n)) if name == HOLE else found[name] for n, name in enumerate(names, first))
            yield whole[max(start - first * BLOCK, 0) : start + length - first * BLOCK]

    def _frames(self, index: Index, numbers: Sequence[int]) -> Iterator[bytes]:
        for at in range(0, len(numbers), _WINDOW):
            names = dict.fromkeys(name for n in numbers[at : at + _WINDOW] if (name := index[n]) != HOLE)
            places = self.places.find(names)
            lost = next((name for name in names if name not in places), None)
            if lost is not None:
                raise Failed("digest", "A block of the image is lost", lost.hex())
            yield from self._sent(list(grouped((name, places[name]) for name in names)))

    def _sent(self, wanted: list[tuple[Place, list[bytes]]]) -> Iterator[bytes]:
        """Frames in the order they are needed; those that lie beside each other are read at once."""
        at = 0
        while at < len(wanted):
            first, end = wanted[at][0], at + 1
            length = first.length
            while end < len(wanted) and length < _READ_AT_ONCE:
                following = wanted[end][0]
                if following.pack != first.pack or following.offset != first.offset + length:
                    break
                length, end = length + following.length, end + 1
            data = self._object(first.pack, first.offset, length)
            for place, names in wanted[at:end]:
                frame = data[place.offset - first.offset : place.offset - first.offset + place.length]
                yield frame if 2 * len(names) >= len(frames.names(frame)) else only(frame, set(names))
            at = end

    def _object(self, name: str, start: int, length: int) -> bytes:
        try:
            return self.objects.get(name, start, length)
        except Refused as e:
            raise Unavailable("interrupted", "The blocks were just being put in order", str(e)) from e

    # ---- damage

    def unreadable(self) -> list[str]:
        """The files whose manifests were damaged when they were read at first."""
        return [name.removeprefix("manifests/") for name in self._damaged]

    def is_hit(self, sha256: str, lost: set[bytes]) -> bool:
        """Whether a file needs what is lost, or has lost its index. Raises Refused(not_found)."""
        if not lost:
            return False
        index = None if bytes.fromhex(self._manifest(sha256).index) in lost else readable(partial(self.index, sha256))
        return index is None or not lost.isdisjoint(index)

    def seal_again(self, sha256: str) -> str:
        """Look at the manifest of a file and write it again if it is damaged; its index's digest, "" when the file is gone."""
        manifests = self._manifests
        with self._opening:  # nobody removes it meanwhile
            manifest = manifests.get(sha256)
            if manifest and readable(lambda: opened(self.objects.get(f"manifests/{sha256}"), self._key.public_key())) != manifest:
                _log.error("manifest is damaged, and written again", sha256=sha256)
                self._publish(manifest)
        return manifest.index if manifest else ""

    def pack_again(self, pack: str) -> None:
        """Make a pack whose table is damaged anew from its frames; it may be the same one then."""
        _log.error("table of a pack is damaged, and written again", name=pack)
        with self._locked(fcntl.LOCK_SH):
            renew(self.objects, self.places, pack, self._folder / f"{ids.secret()}.pack")

    def _put_index(self, index: Index) -> None:
        self.objects.put(f"indexes/{index.name}", squeeze(index))
        self.places.found([bytes.fromhex(index.name)])

    # ---- order

    def collect(self) -> int:
        """Free the packs nobody needs and put together what is left of those that are mostly empty; bytes freed.

        Does nothing while a file is being added, nor while there is a manifest that cannot be read: its blocks may be needed.
        Cheap when nothing went since the last time.
        """
        self.open()
        if self._damaged or not self._is_loose:
            return 0
        before = self.used()
        with contextlib.suppress(BlockingIOError), self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._is_loose = False
            try:
                self._tidy()
            except BaseException:
                self._is_loose = True
                raise
        return before - self.used()

    def _tidy(self) -> None:
        reserved = list(self._reserved.values())
        needed = {m.index for m in self._manifests.values()}
        for name in list(self.objects.names("indexes/")):
            if name.removeprefix("indexes/") not in needed:
                self.objects.delete(name)
        indexes = itertools.chain((self.index(sha256) for sha256 in self.sha256s()), reserved)
        counts = self.places.mark(filter(HOLE.__ne__, index) for index in indexes)
        sparse = [name for name, blocks, live in counts if 2 * live < blocks]
        self._rewrite(sparse)
        for name in sparse:
            self.places.drop(name)
            points.at("collect: before delete")
            self.objects.delete(name)

    def _rewrite(self, sparse: list[str]) -> None:
        writer = PackWriter(self.objects, self.places, self._folder / f"{ids.secret()}.pack")
        try:
            for pack in sparse:
                for place, names in grouped((name, Place(pack, offset, length, 0)) for name, offset, length in self.places.live_in(pack)):
                    writer.add(only(self.objects.get(pack, place.offset, place.length), set(names)))
            writer.finish()
        finally:
            writer.close()

    # ---- inside

    def _pack(self, file: Path, writer: PackWriter, cancelled: Cancelled, on_progress: Progress) -> Index:
        """Every block that is new goes into a frame, frames into packs; compressing is shared by several threads."""
        with file.open("rb") as opened, ThreadPoolExecutor(_THREADS, "pack") as pool:
            size = os.fstat(opened.fileno()).st_size
            found, seen, under_way = bytearray(count(size) * len(HOLE)), set[bytes](), deque[Future[bytes]]()
            names, blocks = list[bytes](), list[memoryview]()

            def flush() -> None:
                if names:
                    under_way.append(pool.submit(frames.pack, tuple(names), b"".join(blocks), frames.AT_PUBLISH))
                    names.clear()
                    blocks.clear()

            for first, data in groups(opened.fileno(), size):
                if cancelled():
                    raise Refused("cancelled", "Storing the image was cancelled")
                fresh = digests(data)
                found[first * len(HOLE) : (first + len(fresh)) * len(HOLE)] = b"".join(fresh)
                here = self.places.find(name for name in fresh if name != HOLE and name not in seen)
                for name, block in zip(fresh, split(data), strict=True):
                    if name == HOLE or name in seen or name in here:
                        continue
                    seen.add(name)
                    names.append(name)
                    blocks.append(block)
                    if len(names) == GROUP:
                        flush()
                while len(under_way) > 2 * _THREADS:
                    writer.add(under_way.popleft().result())
                on_progress(min((first + len(fresh)) * BLOCK, size), size)
            flush()
            while under_way:
                writer.add(under_way.popleft().result())
        on_progress(size, size)
        return Index(size, bytes(found))

    def _publish(self, manifest: Manifest) -> None:
        points.at("manifest: before put")
        self.objects.put(f"manifests/{manifest.sha256}", seal(manifest, self._key))
        points.at("manifest: after put")
        self._manifests[manifest.sha256] = manifest
        if (name := f"manifests/{manifest.sha256}") in self._damaged:
            self._damaged.remove(name)

    @property
    def _manifests(self) -> dict[str, Manifest]:
        if self._known is None:
            self.open()
        assert self._known is not None  # noqa: S101 - it is open
        return self._known

    def _opened(self, name: str) -> Manifest | None:
        manifest = opened(self.objects.get(name), self._key.public_key())
        if manifest is None:
            _log.error("manifest is not ours, or damaged", name=name)
            self._damaged.append(name)
        return manifest

    def _manifest(self, sha256: str) -> Manifest:
        try:
            return self._manifests[sha256]
        except KeyError as e:
            raise Refused("not_found", "These bytes are not here", sha256) from e

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Who adds shares the store, who collects has it alone."""
        fd = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)
