"""The clocks of a bed's hosts: the roles of one read theirs through libfaketime, and jump when a file says so; guests and services do not."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.testbed.bed import Bed
from deploy.testbed.kills import supervise
from luhyaapi.errors import Failed

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
_AHEAD = Path("/run/educloud-clock")
_SPECS = Path("/var/lib/educloud/supervisor")
_ROLES = ("clc-web", "clc-relay", "walrus", "cc", "nc", "sc")
_ENVIRON = {
    "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(_AHEAD), "FAKETIME_NO_CACHE": "1",
    "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
}


def wind(bed: Bed, host: str) -> None:
    """Have the roles of a host follow :func:`put`; those that do not yet are started again. Raises Failed(missing) without libfaketime."""
    if not LIBRARY.exists():
        raise Failed("missing", "libfaketime is not installed", str(LIBRARY), hint="apt-get install libfaketime")
    put(bed, host, 0)
    for program in sorted(set(bed.programs(host)) & set(_ROLES)):
        file = _SPECS / f"{program}.json"
        spec = json.loads(bed.run(host, ["cat", file]).text)
        if "LD_PRELOAD" not in spec["environ"]:
            spec["environ"] |= _ENVIRON
            bed.run(host, ["tee", file], stdin=json.dumps(spec).encode())
            supervise(bed, host, "restart", program)


def put(bed: Bed, host: str, ahead_s: int) -> None:
    """The host's clock jumps so far ahead of the true time, or back; a time of day, nothing that measures."""
    bed.run(host, ["tee", _AHEAD], stdin=f"{ahead_s:+d}\n".encode())
