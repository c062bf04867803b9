"""The addresses of a network as a drawing: a spot for each, row by row, and of a large network one for several."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from luhyaapi.contracts.specs import USAGE

SPOTS = 2048
_NARROW, _WIDE, _FEW = 32, 64, 1024
_FIRST = "tlcrfgo"
"""Which state a spot shows that stands for several addresses."""
_STRETCHES = 200


def drawn(subnet: IPv4Network, usage: str) -> dict[str, Any]:
    """Rectangles of equal spots, how many addresses a spot stands for, how many there are of each state, and the stretches in words."""
    each = -(-len(usage) // SPOTS) or 1
    spots = usage if each == 1 else "".join(min(usage[at : at + each], key=_FIRST.index) for at in range(0, len(usage), each))
    columns = _NARROW if len(spots) <= _FEW else _WIDE
    first = int(subnet.network_address) + 1
    stretches = _stretches(usage)
    return {
        "columns": columns, "rows": -(-len(spots) // columns), "each": each, "rectangles": list(_rectangles(spots, columns, each, first, len(usage))),
        "counts": [{"state": state, "count": usage.count(sign)} for sign, state in USAGE.items() if sign in usage],
        "stretches": [
            {"state": USAGE[sign], "first": IPv4Address(first + at), "last": IPv4Address(first + at + many - 1), "count": many}
            for sign, at, many in stretches[:_STRETCHES]
        ],
        "more": len(stretches) > _STRETCHES,
    }


def _stretches(signs: str) -> list[tuple[str, int, int]]:
    """Sign, place and length of equal ones in a row."""
    found, at = [], 0
    for sign, equal in itertools.groupby(signs):
        many = sum(1 for _ in equal)
        found.append((sign, at, many))
        at += many
    return found


def _rectangles(spots: str, columns: int, each: int, first: int, many: int) -> Any:
    for row in range(0, len(spots), columns):
        for sign, at, wide in _stretches(spots[row : row + columns]):
            begin, end = (row + at) * each, min((row + at + wide) * each, many) - 1
            yield {
                "x": at, "y": row // columns, "width": wide, "state": USAGE[sign], "first": IPv4Address(first + begin), "last": IPv4Address(first + end),
            }
