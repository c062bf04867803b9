"""How many guests boot on this node at the same time: a boot is over when the guest rests, or has had its time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from luhyaapi import clock
from luhyaapi.conf import Hypervisor as Limits
from luhyaapi.errors import Refused, Trouble

LOOK_EVERY_S = 0.25
RESTS_BELOW, RESTS_FOR_S = 0.3, 0.5
"""A guest rests when it asked for less than this share of one processor for so long."""
Busy = Callable[[str], float | None]


@dataclass
class _Boot:
    """A guest that holds a slot. ``since`` and ``busy_s``: when it was last looked at, and how busy it had been by then; 0 before its start."""

    started_at: float = 0.0
    since: float = 0.0
    busy_s: float = 0.0


class Boots:
    """Slots of this node. ``busy`` answers the processor seconds a running guest has had or stood in line for, None when nobody can tell.

    Its place in the line counts: on a busy host a guest that boots gets little, and must not pass for one that rests.
    """

    def __init__(self, limits: Limits, busy: Busy) -> None:
        self._slots = limits.boots or max(2, os.cpu_count() or 1)
        self._longest_s = limits.boot_s
        self._busy = busy
        self._held: dict[str, _Boot] = {}
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, instance: str, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Start a guest inside; its slot is held on until its boot is over. Raises Refused(cancelled)."""
        while not self._take(instance):
            if cancelled():
                raise Refused("cancelled", "It was cancelled before it booted")
            clock.sleep(LOOK_EVERY_S)
        try:
            if cancelled():
                raise Refused("cancelled", "It was cancelled before it booted")
            yield
            busy = self._busy_s(instance)
        except BaseException:
            self._give_back(instance)
            raise
        if busy is None:
            self._give_back(instance)
            return
        now = clock.monotonic()
        with self._lock:
            self._held[instance] = _Boot(now, now, busy)

    def _take(self, instance: str) -> bool:
        for each, boot in list(self._held.items()):
            if boot.started_at and self._is_over(each, boot):
                self._give_back(each)
        with self._lock:
            if len(self._held) >= self._slots and instance not in self._held:
                return False
            self._held[instance] = _Boot()
            return True

    def _is_over(self, instance: str, boot: _Boot) -> bool:
        now, busy = clock.monotonic(), self._busy_s(instance)
        if busy is None or now - boot.started_at >= self._longest_s:
            return True
        if now - boot.since < RESTS_FOR_S:
            return False
        rests = busy - boot.busy_s < RESTS_BELOW * (now - boot.since)
        boot.since, boot.busy_s = now, busy
        return rests

    def _busy_s(self, instance: str) -> float | None:
        """None also when the hypervisor does not say: nobody waits for a guest that cannot be looked at."""
        try:
            return self._busy(instance)
        except Trouble:
            return None

    def _give_back(self, instance: str) -> None:
        with self._lock:
            self._held.pop(instance, None)
