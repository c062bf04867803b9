"""file: URLs, for roles that share a disk: bytes only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer.base import CHUNK, Ability, Cancelled, Source, Span


class Local:
    """Reads a file of this host. Headers mean nothing here: the file system decides who may read."""

    schemes = frozenset({"file"})
    can = frozenset({Ability.GET, Ability.RESUME})

    def get(
        self, source: Source, start: int, begin: Callable[[Span], None], take: Callable[[bytes], None], stopped: Cancelled
    ) -> None:
        """See :class:`luhyaapi.transfer.base.Transfer`."""
        try:
            file = Path(unquote(urlsplit(source.url).path)).open("rb")  # noqa: SIM115 - closed below, opening fails otherwise
        except FileNotFoundError as e:
            raise Refused("not_found", "The other side does not give these bytes", str(e)) from e
        except OSError as e:
            raise Unavailable("transfer", "The file cannot be read now", str(e)) from e
        with file:
            size = os.fstat(file.fileno()).st_size
            if start > size:
                raise Failed("digest", "The other side has fewer bytes than we have")
            begin(Span(start, size))
            file.seek(start)
            while data := file.read(CHUNK):
                if stopped():
                    raise Refused("cancelled", "The transfer was cancelled")
                take(data)
