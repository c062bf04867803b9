"""What a broker delivered: reports that wait to be taken together, and dead letters read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from luhyaapi.wire.link import Dead

Delivered = tuple[Any, bytes]
"""How the broker delivered it (its tag, its exchange), and the message."""
PREFETCH = 1000
_BATCH, _BATCH_BYTES, GATHER_S, MORE_S = 500, 4 * 1024 * 1024, 0.05, 0.005
"""Reports are taken together: at most so many, about so many bytes, for so long, and while more comes within the last time."""


class Waiting:
    """Reports that were delivered and not taken yet."""

    def __init__(self) -> None:
        self._held: list[Delivered] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, method: Any, body: bytes) -> None:
        """One more."""
        self._held.append((method, body))
        self._bytes += len(body)

    def is_full(self) -> bool:
        """Whether they should be taken before more come."""
        return len(self._held) >= _BATCH or self._bytes >= _BATCH_BYTES

    def taken(self) -> list[Delivered]:
        """All of them, in the order they came."""
        held, self._held, self._bytes = self._held, [], 0
        return held


def dead_letter(properties: Any, body: bytes) -> Dead:
    """A message of the dead-letter queue. An order lies inside Celery's form of a call, a report is the message itself."""
    deaths = (properties.headers or {}).get("x-death") or [{}]
    first = deaths[0] if isinstance(deaths[0], dict) else {}
    queue = str(first.get("queue", "")) or str((properties.headers or {}).get("x-first-death-queue", ""))
    message = body
    if queue.startswith(("cmd.", "ctl.")):
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError, AttributeError):
            message = json.loads(body)[0][0].encode()
    reason = {"delivery_limit": "its receiver failed at it again and again", "rejected": "its receiver turned it away",
              "expired": "nobody took it in time", "maxlen": "the queue was full"}.get(str(first.get("reason", "")), str(first.get("reason", "")))
    return Dead(message, queue, reason, int(first.get("count", 1)))
