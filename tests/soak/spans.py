"""Which numbers were run, as text: ``0:500 700:800``, each span without its end."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]


def merged(spans: Iterable[Span]) -> list[Span]:
    """In order, none touching another."""
    found: list[Span] = []
    for first, end in sorted((int(a), int(b)) for a, b in spans):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif first < end:
            found.append((first, end))
    return found


def of(numbers: Iterable[int]) -> list[Span]:
    """The spans of single numbers."""
    return merged((n, n + 1) for n in numbers)


def size(spans: Iterable[Span]) -> int:
    """How many numbers are in spans that are merged."""
    return sum(end - first for first, end in spans)


def numbers(spans: Iterable[Span]) -> set[int]:
    """All that are in spans."""
    return {n for first, end in spans for n in range(first, end)}


def read(text: str) -> list[Span]:
    """What :func:`write` wrote."""
    return merged((int(first), int(end)) for first, _, end in (word.partition(":") for word in text.split()))


def write(spans: Iterable[Span]) -> str:
    """As text."""
    return " ".join(f"{first}:{end}" for first, end in merged(spans))
