"""Moments as people write them: ``now``, ``08:00`` of today or tomorrow, or a date with its time."""

from __future__ import annotations

import datetime as dt
import re

from luhyaapi import clock
from luhyaapi.errors import Refused

_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


def parse(text: str) -> float | None:
    """Seconds since 1970; None for now. A time without a zone is of this machine's. Raises Refused(invalid)."""
    if text.strip().lower() == "now":
        return None
    here = dt.datetime.fromtimestamp(clock.now()).astimezone()
    if found := _TIME.fullmatch(text.strip()):
        asked = here.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        if asked <= here:
            # not 24 hours later: the clocks may change in that night
            asked = (asked.replace(tzinfo=None) + dt.timedelta(days=1)).astimezone()
        return asked.timestamp()
    try:
        return dt.datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as e:
        raise Refused("invalid", f"{text[:40]!r} is no time", "give now, 08:00 or 2030-01-31T08:00", field="by") from e
