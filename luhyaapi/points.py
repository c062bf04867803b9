"""Named points beside every durable step: nothing happens there, unless a test, the simulator or EDUCLOUD_DIE_AT (``deploy.processes``) asks for it."""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], None]


def _nothing(_name: str) -> None:
    """What happens at a point in normal running."""


_hook: Hook = _nothing


def use(hook: Hook | None) -> Hook:
    """Have ``hook(name)`` called at every point, None: nothing again; returns the one that was there."""
    global _hook  # the one seam through which a death at a point enters the program
    before, _hook = _hook, hook or _nothing
    return before


def at(name: str) -> None:
    """We are at that point now, for example ``journal: before commit``."""
    _hook(name)
