"""Deliberate bugs, each a patch that holds inside this process only: what the simulator must find to be worth anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

BUGS: dict[str, Callable[[], object]] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug is in the product while this is open."""
    yield
