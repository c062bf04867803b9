"""The store of objects as Walrus works with it: it may be away, at the start too, and then says so until it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from luhyaapi import log
from luhyaapi.errors import Trouble, Unavailable
from walrus.drivers.base import ObjectStore

_log = log.get(__name__)
_WHAT = "The object store cannot be used now"


class WatchedStore:
    """What ``make`` opens when it is first needed, and again until that succeeds; ``trouble`` is why it cannot be used, or "".

    As :class:`walrus.drivers.base.ObjectStore`, but all that only an operator can mend, a store that does not know us or cannot be
    opened, is Unavailable(interrupted) too: no order of a user fails for it, it waits. Safe for several threads.
    """

    def __init__(self, make: Callable[[], ObjectStore]) -> None:
        self.trouble = ""
        self._make = make
        self._made: ObjectStore | None = None
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes) -> None:
        with self._asked() as store:
            store.put(name, data)

    def put_file(self, name: str, file: Path) -> None:
        with self._asked() as store:
            store.put_file(name, file)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        with self._asked() as store:
            return store.get(name, start, length)

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        with self._asked() as store:
            pieces = store.read(name, start, length)
        return self._pieces(pieces)

    def size(self, name: str) -> int:
        with self._asked() as store:
            return store.size(name)

    def names(self, prefix: str) -> Iterator[str]:
        with self._asked() as store:
            yield from store.names(prefix)

    def delete(self, name: str) -> None:
        with self._asked() as store:
            store.delete(name)

    def look(self) -> None:
        """See whether it answers. Raises as all others."""
        next(self.names("manifests/"), None)

    def _pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._asked():
            yield from pieces

    @contextmanager
    def _asked(self) -> Iterator[ObjectStore]:
        try:
            yield self._opened()
        except Trouble as e:
            if self._made is not None and e.code not in ("interrupted", "forbidden"):
                self._answered()  # with a no, which is an answer
                raise
            self._tell(e)
            if e.code == "forbidden":
                self._made = None  # opened anew it may have another secret
            if isinstance(e, Unavailable):
                raise
            raise Unavailable("interrupted", _WHAT, str(e)) from e
        else:
            self._answered()

    def _opened(self) -> ObjectStore:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _tell(self, trouble: Trouble) -> None:
        if not self.trouble:
            _log.error("object store cannot be used", code=trouble.code, why=str(trouble))
        self.trouble = str(trouble)

    def _answered(self) -> None:
        if self.trouble:
            _log.info("object store can be used again")
        self.trouble = ""
