"""Filters and pages of a list: by key, so that page one thousand costs what page one costs."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from luhyaapi.contracts.vocabulary import Word

PAGE_SIZE = 50
KEPT = ("subject", "person", "group", "via", "result", "since", "until")
"""Filters of the record of changes, which stay from page to page as the others do."""
_LARGEST = 2**63


@dataclass
class Listed:
    """One page of rows, and the addresses of the next page and of the first."""

    rows: list[Any]
    next_url: str
    previous_url: str


def filters(request: HttpRequest, states: Iterable[Word]) -> dict[str, str]:
    """The filter of a list: ``q`` and ``state``; a state that is none is left out."""
    state = request.GET.get("state", "")
    return {"q": request.GET.get("q", "").strip()[:100], "state": state if state in set(map(str, states)) else ""}


def matching(text: str, *fields: str) -> Q:
    """Rows of which one of the fields contains the text."""
    found = Q()
    for field in fields:
        found |= Q(**{f"{field}__icontains": text})
    return found


def listed(request: HttpRequest, rows: QuerySet[Any], *order: str, size: int = PAGE_SIZE) -> Listed:
    """The page of ``rows`` the address names by ``after``; ``order`` ends in a unique field, ``-`` turns a field around."""
    after = _decoded(request.GET.get("after", ""), len(order))
    if after and _fits(rows, order, after):
        rows = rows.filter(_beyond(order, after))
    found = list(rows.order_by(*order)[: size + 1])
    kept = {k: v for k in ("q", "state", "role", "sort", *KEPT) if (v := request.GET.get(k))}
    next_url = ""
    if len(found) > size:
        last = [getattr(found[size - 1], name.removeprefix("-")) for name in order]
        next_url = "?" + urlencode(kept | {"after": _encoded(last)})
    return Listed(found[:size], next_url, f"?{urlencode(kept)}" if after else "")


def _beyond(order: tuple[str, ...], after: list[Any]) -> Q:
    found, same = Q(), Q()
    for name, value in zip(order, after, strict=True):
        field = name.removeprefix("-")
        found |= same & Q(**{f"{field}__{'lt' if name.startswith('-') else 'gt'}": value})
        same &= Q(**{field: value})
    # Says nothing new, and is what an index finds the place by.
    first = order[0].removeprefix("-")
    return Q(**{f"{first}__{'lte' if order[0].startswith('-') else 'gte'}": after[0]}) & found


def _fits(rows: QuerySet[Any], order: tuple[str, ...], after: list[Any]) -> bool:
    """Whether each value can stand in its column: a cursor may come from anybody."""
    try:
        for turned, value in zip(order, after, strict=True):
            name = turned.removeprefix("-")
            made = rows.query.annotations.get(name)
            field = made.output_field if made is not None else rows.model._meta.get_field(name)  # noqa: SLF001 - public, in spite of its name
            field.get_prep_value(value)
            str(value).encode()
    except (TypeError, ValueError, OverflowError):
        return False
    return all(isinstance(value, str) or abs(value) < _LARGEST for value in after)


def _encoded(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values, default=str).encode()).decode().rstrip("=")


def _decoded(text: str, length: int) -> list[Any]:
    """The values of a cursor; nothing for one that was not ours."""
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) if text else []
    except (binascii.Error, ValueError, RecursionError):
        return []
    fits = isinstance(values, list) and len(values) == length and all(isinstance(v, str | int | float) for v in values)
    return values if fits else []
