"""sha256 of what streams by."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

_SMALL = 64 * 1024


class Digest:
    """sha256 of what is fed, computed beside the writing: one piece is hashed while the next one comes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pool: ThreadPoolExecutor | None = None
        self._busy: Future[None] | None = None

    def feed(self, data: bytes) -> None:
        """Add ``data``; waits for the piece before. A small first piece is hashed sooner than a thread begins."""
        self._settle()
        if self._pool is None:
            if len(data) < _SMALL:
                self._hash.update(data)
                return
            self._pool = ThreadPoolExecutor(1, "digest")
        self._busy = self._pool.submit(self._hash.update, data)

    def restart(self) -> None:
        """Begin anew."""
        self._settle()
        self._hash = hashlib.sha256()

    def result(self) -> str:
        """The digest of all that was fed so far, in hexadecimal digits; more may follow."""
        self._settle()
        return self._hash.hexdigest()

    def close(self) -> None:
        """No more."""
        if self._pool:
            self._pool.shutdown()

    def _settle(self) -> None:
        if self._busy:
            self._busy.result()
            self._busy = None
