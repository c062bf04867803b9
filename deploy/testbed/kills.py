"""Programs of a bed killed at chosen moments: what becomes of an instance that is being started meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

from deploy.testbed.bed import Bed
from luhyaapi import clock
from luhyaapi.errors import Failed

_PATIENCE_S = 180.0
_LOOK_S = 0.5
ENDS = ("running", "failed")


@dataclass(frozen=True)
class Outcome:
    """How it went. ``ended``: the instance's state at the end; ``took_s``: seconds from the kill to there."""

    host: str
    program: str
    instance: str
    ended: str
    took_s: float


def while_starting(bed: Bed, host: str, program: str, after_s: float = 0.3, image: str = "tiny") -> Outcome:
    """Have an instance started, kill a program ``after_s`` later, and wait for the instance to come to an end by itself."""
    task = bed.answer("instance", "run", "--image", image, "--no-wait")
    assert isinstance(task, dict)  # noqa: S101 - one instance was asked for
    clock.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(bed.programs(host)[program], signal.SIGKILL)
    began = clock.monotonic()
    instance = str(task["subject"])
    state = ""
    while clock.monotonic() - began < _PATIENCE_S:
        with contextlib.suppress(Failed, ValueError):
            found = bed.answer("instance", "show", instance)
            state = str(found["state"]) if isinstance(found, dict) else ""
            if state in ENDS:
                break
        clock.sleep(_LOOK_S)
    return Outcome(host, program, instance, state, clock.monotonic() - began)
