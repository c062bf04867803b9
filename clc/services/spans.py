"""Spans and ends of time as people type them: 12h, 7d, a date, a moment, never."""

from __future__ import annotations

import datetime as dt
import re

from django.utils.dateparse import parse_date

from clc.services import audit_export
from luhyaapi import clock
from luhyaapi.errors import Refused

NEVER = ("never", "none")
LONGEST_S = 100 * 365 * 86400.0
_SPAN = re.compile(r"([0-9]{1,9})\s?([smhdw])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def seconds(text: str, field: str) -> float | None:
    """How long ``12h``, ``7d`` or ``4w`` is; None for never. Raises Refused(invalid)."""
    text = text.strip().lower()
    if text in NEVER:
        return None
    found = _SPAN.fullmatch(text)
    length = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < length <= LONGEST_S:
        raise Refused("invalid", "The span cannot be read", f"{text[:40]!r}: give 90m, 12h, 7d, 4w or never", field=field)
    return length


def moment(text: str, field: str) -> float | None:
    """When ``7d`` from now is, or ``2030-01-31`` is over, or an RFC 3339 moment; None for never. Raises Refused(invalid) for one that is past."""
    text = text.strip()
    if text.lower() in NEVER:
        return None
    if _SPAN.fullmatch(text.lower()):
        return clock.now() + (seconds(text, field) or 0.0)
    at = end_of_day(text, field)
    if not clock.now() < at <= clock.now() + LONGEST_S:
        raise Refused("invalid", "The end is not possible", f"{text[:40]!r} is past, or too far away", field=field)
    return at


def end_of_day(text: str, field: str) -> float:
    """A moment; of a date, when that day is over. Raises Refused(invalid)."""
    try:
        day = parse_date(text) if len(text) == len("2030-01-31") else None
        return audit_export.moment((day + dt.timedelta(days=1)).isoformat() if day else text, field)
    except (ValueError, OverflowError, Refused) as e:
        raise Refused("invalid", "The end cannot be read", f"{text[:40]!r}: give 7d, 12h, 2030-01-31, a moment (RFC 3339) or never", field=field) from e


def shown(span: float | None) -> str:
    """A span in the largest unit, up to days, that tells it wholly."""
    if span is None:
        return "never"
    name = next(name for name in "dhms" if (span and span % _UNITS[name] == 0) or name == "s")
    return f"{span / _UNITS[name]:.0f}{name}"
