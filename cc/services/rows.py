"""Who was told to fetch which files, in that order: memory of this process, and disposable."""

from __future__ import annotations

import threading

from luhyaapi import clock

_ROW_S = 3600.0
"""Who was told to fetch so long ago has it, or has failed."""


class Rows:
    """Who was told to fetch which files, in that order."""

    def __init__(self) -> None:
        self._rows: dict[frozenset[str], dict[str, float]] = {}
        self._lock = threading.Lock()

    def before(self, blobs: frozenset[str], node: str) -> list[str]:
        """Those before ``node`` in the row of these files, the nearest first; it stands there from now on."""
        now = clock.now()
        with self._lock:
            self._rows = {key: row for key, each in self._rows.items() if (row := {h: at for h, at in each.items() if abs(now - at) < _ROW_S})}
            row = self._rows.setdefault(blobs, {})
            row.setdefault(node, now)
            names = list(row)
        return names[: names.index(node)][::-1]
