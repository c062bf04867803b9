"""Where Walrus keeps its objects: packs, indexes, manifests. A driver only keeps bytes by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from luhyaapi.errors import Refused

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}(/[a-z0-9][a-z0-9.-]{0,127}){0,3}")
PIECE = 1024 * 1024
"""Bytes held in memory at once while an object is read or written."""


def named(name: str) -> str:
    """The name itself, if it is one: up to four words of lower-case letters, digits, dots and dashes. Raises Refused(invalid)."""
    if not _NAME.fullmatch(name):
        raise Refused("invalid", "That cannot name an object", repr(name[:80]))
    return name


class ObjectStore(Protocol):
    """Objects by name (see :func:`named`), each whole or not there, never changed once it is.

    What was put is on stable storage when the call returns, and every reader sees it from then on. Safe for several threads
    and processes. Every method raises Unavailable(interrupted) when the store does not answer now, Refused(forbidden) when it
    does not know us.
    """

    def put(self, name: str, data: bytes) -> None:
        """Keep ``data``; the same name again replaces it as a whole. Raises Failed(disk_full)."""

    def put_file(self, name: str, file: Path) -> None:
        """Keep what is in ``file`` and take it away from there, with flat memory. Raises Failed(disk_full)."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the end; None: all from there. Raises Refused(not_found)."""

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        """The same in pieces of at most PIECE bytes. Raises Refused(not_found) before the first."""

    def size(self, name: str) -> int:
        """Bytes of an object. Raises Refused(not_found)."""

    def names(self, prefix: str) -> Iterator[str]:
        """All names that begin with ``prefix``, in order."""

    def delete(self, name: str) -> None:
        """Forget it; harmless when there is none."""
