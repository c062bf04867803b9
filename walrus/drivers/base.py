"""Where Walrus keeps its objects: packs, indexes, manifests. A driver only keeps bytes by name."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from luhyaapi.errors import Refused

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}(/[a-z0-9][a-z0-9.-]{0,127}){0,3}")
PIECE = 1024 * 1024
"""Bytes held in memory at once while an object is read or written."""


class ObjectStore(Protocol):
    """Objects by name (see :func:`named`), each whole or not there, never changed once it is; replaced only as a whole.

    What was put is on stable storage when the call returns, and every reader sees it from then on; of two who put one name
    at once the later one wins. ``packs`` may be an object beside ``packs/17``. Safe for several threads and processes.
    Every method raises Unavailable(interrupted) when the store does not answer now, Refused(forbidden) when it does not know
    us, Refused(invalid) for what is no name. After any error the object is as it was before or as it was wanted, never half.
    """

    def put(self, name: str, data: bytes) -> None:
        """Keep ``data``; the same name again replaces it as a whole. Raises Failed(disk_full), Failed(digest)."""

    def put_file(self, name: str, file: Path) -> None:
        """Keep what is in ``file`` and take it away from there, with flat memory. Nobody writes to it any more.

        Whoever dies in the middle finds the file, or the object, or both. After an error the file is still there.
        Raises Failed(disk_full), Failed(digest), Refused(invalid) when it is no plain file.
        """

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the end, none behind it; None: all from there. Raises Refused(not_found)."""

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        """The same in pieces of at most PIECE bytes, of one object even when it is replaced meanwhile.

        Raises Refused(not_found) at once, Unavailable(interrupted) in the middle too.
        """

    def size(self, name: str) -> int:
        """Bytes of an object. Raises Refused(not_found)."""

    def names(self, prefix: str) -> Iterator[str]:
        """All names that begin with ``prefix``, in order; ones put or deleted meanwhile may be among them or not."""

    def delete(self, name: str) -> None:
        """Forget it; harmless when there is none."""


def named(name: str) -> str:
    """The name itself, if it is one: up to four words of lower-case letters, digits, dots and dashes. Raises Refused(invalid)."""
    if not is_name(name):
        raise Refused("invalid", "That cannot name an object", repr(name[:80]))
    return name


def is_name(name: str) -> bool:
    """Whether it can name an object; what else lies in the same place is not ours."""
    return _NAME.fullmatch(name) is not None


def missing(name: str) -> Refused:
    """What is said of a name that no object has."""
    return Refused("not_found", "There is no such object", name)


def span(start: int, length: int | None) -> None:
    """Raises Refused(invalid) for bytes before the beginning."""
    if start < 0 or (length is not None and length < 0):
        raise Refused("invalid", "Those bytes cannot be", f"{length} from {start} on")


def plain(file: Path) -> BufferedReader:
    """A plain file, opened; links are not followed. Raises Refused(invalid) when it is something else, OSError."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise Refused("invalid", "Only a plain file can be an object", f"{file} is a link") from e
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused("invalid", "Only a plain file can be an object", str(file))
    return os.fdopen(fd, "rb")
