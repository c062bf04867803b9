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
"""A guest rests when it used less than this share of one processor for so long."""
Used = Callable[[str], float | None]


@dataclass
class _Boot:
    """A guest that holds a slot. ``since`` and ``used_s``: when and at which processor time it was last seen busy; 0 before its start."""

    started_at: float = 0.0
    since: float = 0.0
    used_s: float = 0.0


class Boots:
    """Slots of this node. ``used`` answers the processor seconds a running guest has had, None when nobody can tell."""

    def __init__(self, limits: Limits, used: Used) -> None:
        self._slots = limits.boots or max(2, os.cpu_count() or 1)
        self._longest_s = limits.boot_s
        self._used = used
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
            used = self._used_s(instance)
        except BaseException:
            self._give_back(instance)
            raise
        if used is None:
            self._give_back(instance)
            return
        now = clock.monotonic()
        with self._lock:
            self._held[instance] = _Boot(now, now, used)

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
        now, used = clock.monotonic(), self._used_s(instance)
        if used is None or now - boot.started_at >= self._longest_s:
            return True
        if now - boot.since < RESTS_FOR_S:
            return False
        rests = used - boot.used_s < RESTS_BELOW * (now - boot.since)
        boot.since, boot.used_s = now, used
        return rests

    def _used_s(self, instance: str) -> float | None:
        """None also when the hypervisor does not say: nobody waits for a guest that cannot be looked at."""
        try:
            return self._used(instance)
        except Trouble:
            return None

    def _give_back(self, instance: str) -> None:
        with self._lock:
            self._held.pop(instance, None)
