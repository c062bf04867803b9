"""Whose turn it is with an instance: an order and a look at it never touch its files and domain at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One turn per instance; no thread takes one twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._change = threading.Condition()

    @contextmanager
    def order(self, instance: str) -> Iterator[None]:
        """Wait for the turn, and have it inside."""
        with self._change:
            self._change.wait_for(lambda: instance not in self._taken)
            self._taken.add(instance)
        try:
            yield
        finally:
            self._give_back(instance)

    @contextmanager
    def look(self, instance: str) -> Iterator[bool]:
        """Have the turn inside if nobody has it; whether we do. What an order leaves behind it tells itself."""
        with self._change:
            is_ours = instance not in self._taken
            if is_ours:
                self._taken.add(instance)
        try:
            yield is_ours
        finally:
            if is_ours:
                self._give_back(instance)

    def _give_back(self, instance: str) -> None:
        with self._change:
            self._taken.discard(instance)
            self._change.notify_all()
