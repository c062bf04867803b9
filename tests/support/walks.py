"""Which points of a long walk a run tries: a sample in ``make test``, every one in ``make soak``."""

import os
from collections.abc import Iterable
from typing import TypeVar

WHOLE = "WHOLE_WALKS"
"""Set in the environment, every point is tried."""
_STRIDE = 3
_T = TypeVar("_T")


def sampled(points: Iterable[_T], first: int = 0) -> list[_T]:
    """Every third of ``points`` from the ``first`` on; all of them when ``WHOLE_WALKS`` is set."""
    every = list(points)
    return every if os.environ.get(WHOLE) else every[first::_STRIDE]
