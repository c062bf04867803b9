"""How long ``make up`` takes after its packages are installed: from nothing, from stopped, on a running cloud; and ``down``."""

from __future__ import annotations

import time
from typing import Any

from bench.cloud import fresh

RUNS = 3


def measure() -> dict[str, Any]:
    """Seconds, whole process."""
    runs: dict[str, list[float]] = {"up from nothing, s": [], "up again, s": [], "down, s": [], "up from stopped, s": []}

    def timed(what: str, verb: str) -> None:
        began = time.monotonic()
        cloud.host(verb)
        runs[what].append(time.monotonic() - began)

    with fresh() as cloud:
        timed("up from nothing, s", "up")
        for _ in range(RUNS):
            timed("up again, s", "up")
            timed("down, s", "down")
            timed("up from stopped, s", "up")
            assert cloud.soon(cloud.all_up)
    return {"runs": runs}
