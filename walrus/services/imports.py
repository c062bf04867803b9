"""Images brought in from a URL: the file becomes the disk of an upload, and that is published as every other."""

from __future__ import annotations

from pathlib import Path

from luhyaapi import clock
from luhyaapi.conf import Imports as Limits
from luhyaapi.contracts.commands import ImageImport
from luhyaapi.contracts.specs import MIB, UploadPart
from luhyaapi.contracts.vocabulary import Part
from luhyaapi.errors import Failed, Trouble, Unavailable
from luhyaapi.transfer.base import Cancelled
from luhyaapi.transfer.fetch.fetcher import fetch_url, is_begun
from luhyaapi.transfer.fetch.rules import Rules
from walrus.services.blockstore import BlockStore
from walrus.services.library import Library
from walrus.services.publishing import Tell
from walrus.services.receipts import Published
from walrus.services.verdict import cut_off

_LOOK_S = 1.0


class Imports:
    """Fetches for ``library`` what ``limits`` let."""

    def __init__(self, library: Library, store: BlockStore, limits: Limits) -> None:
        self._library, self._store, self._limits = library, store, limits
        self._fed: dict[Path, tuple[int, float]] = {}

    def run(self, order: ImageImport, within_s: float, *, cancelled: Cancelled, tell: Tell) -> Published:
        """Have the disk at the order's URL in the store, ``within_s`` seconds at most; as :meth:`Library.publish` from then on.

        Harmless when said again; after a cut, a stop (``cancelled`` raises Unavailable) or a death it goes on behind what is on
        the disk. Raises as :func:`luhyaapi.transfer.fetch.fetcher.fetch_url` and :meth:`Library.publish`, and Failed(timeout)
        when nothing of it comes at all, or nothing more for as long as the limits let.
        """
        if published := self._library.published(order.upload):
            self._library.abandon(order.upload)
            return published
        file = self._library.open_import(order.upload, Part.DISK)
        if not file.exists():
            self._fetch(order.url, file, within_s, cancelled, tell)
        size = file.stat().st_size
        if not size:
            raise cut_off("it is empty")
        part = UploadPart(part=Part.DISK, size=size, format=order.format, sha256=order.sha256)
        return self._library.publish(order.upload, (part,), cancelled=cancelled, tell=tell)

    def _fetch(self, url: str, file: Path, within_s: float, cancelled: Cancelled, tell: Tell) -> None:
        limits, looked_at = self._limits, clock.monotonic() - _LOOK_S

        def on_progress(done: int, total: int) -> None:
            nonlocal looked_at
            self._note(file, done)
            if clock.monotonic() - looked_at >= _LOOK_S:
                looked_at = clock.monotonic()
                self._store.room(max(total - done, 0))
            tell("fetch", done, max(total, 0))

        rules = Rules(
            largest_bytes=limits.largest_mib * MIB, total_s=min(limits.longest_s, within_s), allowed=limits.allowed,
            denied=limits.denied, rate=int(limits.rate_mib * MIB), authority=limits.ca_file,
        )
        try:
            fetch_url(url, file, rules=rules, cancelled=cancelled, on_progress=on_progress)
        except Unavailable as e:
            if e.code != "transfer" or (is_begun(file) and self._note(file, 0) < limits.silent_s):
                raise
            self._fed.pop(file, None)
            raise Failed("timeout", "The file could not be fetched", e.why or e.what, hint="Check the URL, then import it again.") from e
        except Trouble:
            self._fed.pop(file, None)
            raise
        self._fed.pop(file, None)

    def _note(self, file: Path, done: int) -> float:
        """Seconds since the file last grew, as far as this process has seen."""
        most, _ = self._fed.setdefault(file, (done, clock.monotonic()))
        if done > most:
            self._fed[file] = done, clock.monotonic()
        return clock.monotonic() - self._fed[file][1]
