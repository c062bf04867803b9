"""Work done beside the one who brings it, in order: while bytes are received, those before them are unpacked and written."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")
_WAIT_AT_MOST = 4


class Beside(Generic[T]):
    """Does ``act`` with each thing, one after the other; in a thread of its own, or at once when ``threaded`` is false.

    An error of ``act`` comes out of the next :meth:`put` or :meth:`drain`; nothing is done after it.
    """

    def __init__(self, act: Callable[[T], object], *, threaded: bool) -> None:
        self._act, self._is_threaded = act, threaded
        self._waiting: queue.Queue[list[T]] = queue.Queue(_WAIT_AT_MOST)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="beside", daemon=True)

    def __enter__(self) -> Self:
        if self._is_threaded:
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._is_threaded:
            self._waiting.put([])
            self._thread.join()

    def put(self, thing: T) -> None:
        """Have it done; waits while several wait already."""
        if not self._is_threaded:
            self._act(thing)
            return
        self._raise()
        self._waiting.put([thing])

    def drain(self) -> None:
        """Wait until all is done."""
        if self._is_threaded:
            self._waiting.join()
            self._raise()

    def _raise(self) -> None:
        if self._error:
            raise self._error

    def _run(self) -> None:
        while things := self._waiting.get():
            if self._error is None:
                try:
                    self._act(things[0])
                except Exception as error:
                    self._error = error
            self._waiting.task_done()
