"""The kernel's table of connections, by which it knows answers and translations: how full it is. In a full one nothing new begins."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path("/proc/sys/net/netfilter")
FULL = 0.95
"""Of this part on, what is new is dropped now and then: many end and begin between two looks."""


def look() -> tuple[int, int]:
    """How many there are, and how many there can be; 0 of 0 where the kernel keeps none. Of the network namespace of the caller."""
    try:
        return int((FOLDER / "nf_conntrack_count").read_text()), int((FOLDER / "nf_conntrack_max").read_text())
    except (OSError, ValueError):
        return 0, 0


def is_full(count: int, most: int) -> bool:
    """Whether what is new is dropped."""
    return most > 0 and count >= FULL * most


def trouble() -> str:
    """What is wrong with the table of this host, or an empty text."""
    count, most = look()
    return f"The table of connections is full: {count} of {most}" if is_full(count, most) else ""
