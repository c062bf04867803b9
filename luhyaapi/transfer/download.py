"""One download: part file, resume, digest while streaming, the name at the end."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from luhyaapi import clock, log
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Unavailable, of
from luhyaapi.transfer.base import CHUNK, Source, Span, Transfer
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.curl import Curl
from luhyaapi.transfer.digest import Digest
from luhyaapi.transfer.local import Local
from luhyaapi.transfer.sparse import SparseFile

_log = log.get(__name__)
_LOOK_S = 0.1
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

PROTOCOLS: dict[str, Transfer] = {scheme: each for each in (Curl(), Local()) for scheme in sorted(each.schemes)}


@dataclass(frozen=True)
class Patience:
    """How long a download goes on: ``total_s`` in all, ``idle_s`` without a single new byte (seconds)."""

    total_s: float = 3600.0
    idle_s: float = 120.0


class Download:
    """Brings one blob into a cache. ``position`` counts the bytes that are here, for those who watch."""

    def __init__(self, cache: BlobCache, blob: Blob, stop: threading.Event, patience: Patience) -> None:
        self.position = 0
        self._cache, self._blob, self._stop, self._patience = cache, blob, stop, patience
        self._sources: list[Source] = []
        self._part = cache.part(blob.sha256)
        self._digest = Digest()
        self._file: SparseFile | None = None
        self._found_half = False

    def offer(self, source: Source) -> None:
        """One more place to get it from; the newest is asked first."""
        if source not in self._sources:
            self._sources.append(source)

    def run(self) -> Path:
        """The complete, checked file. Errors as :func:`luhyaapi.transfer.courier.fetch` says."""
        while True:
            with self._cache.fetching(self._blob.sha256) as ours:
                here = self._cache.path(self._blob.sha256)
                if here:
                    return here
                if ours:
                    return self._bring()
            self._watch_other()

    def _watch_other(self) -> None:
        """Another process downloads it: look how far it is."""
        with contextlib.suppress(FileNotFoundError):
            self.position = self._part.stat().st_size
        if clock.wait(self._stop, _LOOK_S):
            raise Refused("cancelled", "Fetching the image was cancelled")

    def _bring(self) -> Path:
        try:
            try:
                return self._whole()
            except Failed as e:
                if e.code != "digest" or not self._found_half:
                    raise
                _log.warning("half file was damaged", sha256=self._blob.sha256, why=str(e))
                self._part.unlink(missing_ok=True)
                return self._whole()
        except Unavailable:
            raise
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise of(error) from error
        except Exception:
            self._part.unlink(missing_ok=True)
            raise
        finally:
            self._digest.close()

    def _whole(self) -> Path:
        self._read_half()
        self._cache.room(self._blob.size - self.position)
        with SparseFile(self._part, self.position) as self._file:
            self._attempts()
            found = self._digest.result()
            if found != self._blob.sha256:
                raise Failed("digest", "Other bytes came than expected", f"their sha256 is {found}")
            self._file.sync()
        return self._cache.adopt(self._part, self._blob.sha256)

    def _read_half(self) -> None:
        """Take over what an earlier process left, hashing it again."""
        self._digest.restart()
        self.position, self._found_half = 0, False
        with contextlib.suppress(FileNotFoundError), self._part.open("rb") as half:
            while (data := half.read(CHUNK)) and self.position < self._blob.size:
                data = data[: self._blob.size - self.position]
                self._digest.feed(data)
                self.position += len(data)
                self._go_on()
            self._found_half = self.position > 0

    def _attempts(self) -> None:
        begun = fed = clock.monotonic()
        pause = _FIRST_PAUSE_S
        while self.position < self._blob.size:
            before, source = self.position, self._sources[-1]
            try:
                PROTOCOLS[urlsplit(source.url).scheme].get(
                    source, self.position, self._begin, self._take, self._stop.is_set
                )
                if self.position < self._blob.size:
                    raise Unavailable("transfer", "The transfer was cut", "the other side stopped early")
            except Unavailable as cut:
                now = clock.monotonic()
                if self.position > before:
                    fed, pause = now, _FIRST_PAUSE_S
                if now - fed + pause > self._patience.idle_s or now - begun + pause > self._patience.total_s:
                    raise Unavailable("transfer", "The bytes did not arrive", cut.why or str(cut)) from cut
                _log.info("transfer cut", sha256=self._blob.sha256, position=self.position, why=str(cut))
                clock.wait(self._stop, pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            except Refused:
                self._sources.remove(source)
                if not self._sources:
                    raise
            self._go_on()

    def _begin(self, span: Span) -> None:
        if span.total not in (-1, self._blob.size):
            raise Failed("digest", "Other bytes came than expected", f"{span.total} bytes instead of {self._blob.size}")
        if span.start == self.position:
            return
        if span.start != 0 or self._file is None:
            raise Failed("digest", "Other bytes came than asked for", f"from {span.start} instead of {self.position}")
        self._file.restart()
        self._digest.restart()
        self.position = 0

    def _take(self, data: bytes) -> None:
        if self._file is None or self.position + len(data) > self._blob.size:
            raise Failed("digest", "Other bytes came than expected", f"more than {self._blob.size} bytes")
        self._digest.feed(data)
        self._file.write(data)
        self.position += len(data)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Refused("cancelled", "Fetching the image was cancelled")
