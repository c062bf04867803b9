"""How often a test of chance tries: a little in ``make test``, a multiple in ``make soak``."""

import os

TIMES = "MANY_TIMES"
"""Set in the environment: by how much."""


def many(usual: int) -> int:
    """``usual``, or the multiple of it that was asked for."""
    return usual * int(os.environ.get(TIMES, "1"))
