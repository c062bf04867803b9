"""Sizes as people write them, read strictly, and written back."""

from __future__ import annotations

import re

from luhyaapi.errors import Refused

_SIZE = re.compile(r"([0-9]{1,15})(K|M|G|T|KiB|MiB|GiB|TiB|B)?")
_POWER = {"": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_LARGEST = 2**60


def parse(text: str) -> int:
    """Bytes of ``512M``, ``2G``, ``1GiB`` or ``1048576``; units are powers of 1024.

    A bare number is bytes. Raises Refused(invalid) for anything else, zero and what no machine has.
    """
    found = _SIZE.fullmatch(text)
    if not found:
        raise Refused("invalid", f"{text!r} is not a size", "write a whole number with K, M, G or T, for example 512M or 2GiB")
    size = int(found[1]) << 10 * _POWER[(found[2] or "")[:1]]
    if not 0 < size <= _LARGEST:
        raise Refused("invalid", f"{text!r} is not a usable size", "it must be above zero and at most 1 EiB")
    return size


def show(size: float | None) -> str:
    """A size in bytes for people, for example ``512 MiB``; ``-`` when not known."""
    if size is None:
        return "-"
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
