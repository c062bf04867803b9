"""Boot traces: which blocks of an image guests read first, in order. What a host learned it tells its neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from luhyaapi import clock, log
from luhyaapi.errors import Unavailable
from luhyaapi.files import write_atomic
from luhyaapi.transfer import download
from luhyaapi.transfer.base import Cancelled, Source

_log = log.get(__name__)
KEPT = 64
_LARGEST = 64 * 1024
_PATIENCE_S = 5.0


class Traces:
    """The traces in a folder, ``<sha256>.trace`` each; the latest ones are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, sha256: str) -> list[int]:
        """Block numbers in the order in which they were first read; empty when it is not known."""
        try:
            return _numbers(self._file(sha256).read_bytes())
        except FileNotFoundError:
            return []
        except ValueError as error:
            _log.warning("a boot trace cannot be read", sha256=sha256, why=str(error))
            return []

    def keep(self, sha256: str, numbers: Iterable[int]) -> None:
        """Remember one; the oldest are forgotten. Raises OSError."""
        write_atomic(self._file(sha256), json.dumps(list(numbers)).encode())
        for old in sorted(self._folder.glob("*.trace"), key=lambda trace: trace.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)

    def _file(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.trace"


def learn(neighbours: Sequence[Source], tell: Callable[[list[int]], None], stopped: Cancelled) -> None:
    """Ask one neighbour after the other, each for some seconds; ``tell`` is called once with what the first one knows. It is only a hint."""
    for near in neighbours:
        if stopped():
            return
        try:
            tell(_asked(near, stopped))
        except Exception as error:  # whatever a neighbour says, the next one is asked
            _log.info("no boot trace from a neighbour", url=near.url, why=str(error))
        else:
            return


def _asked(near: Source, stopped: Cancelled) -> list[int]:
    data, until = bytearray(), clock.monotonic() + _PATIENCE_S

    def take(piece: bytes) -> None:
        data.extend(piece)
        if len(data) > _LARGEST:
            raise Unavailable("transfer", "Another boot trace came than expected", "it is too long")

    at = replace(near, url=f"{near.url}/trace")
    download.PROTOCOLS[urlsplit(at.url).scheme].get(at, take, lambda: stopped() or clock.monotonic() > until)
    return _numbers(bytes(data))


def _numbers(data: bytes) -> list[int]:
    """Raises ValueError for what is no list of numbers."""
    found = json.loads(data)
    if not isinstance(found, list) or not all(type(n) is int for n in found):
        raise ValueError("it is no list of numbers")
    return found
