"""Work that many ask for and one does for all: whoever asked before it began need not do it again."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Shared:
    """Of those who come while it is being done, one does it next, for all of them. Works with one ``lock`` are never done at once."""

    def __init__(self, lock: threading.Lock | None = None) -> None:
        self.lock = lock or threading.Lock()
        self._counting = threading.Lock()
        self._asked = self._done = 0

    def do(self, work: Callable[[], object]) -> None:
        """Return once the work was done that began after this was called. Raises what it raises to who did it; the next tries again."""
        with self._counting:
            self._asked += 1
            mine = self._asked
        with self.lock:
            if self._done >= mine:
                return
            with self._counting:
                upto = self._asked
            work()
            self._done = upto
