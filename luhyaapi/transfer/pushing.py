"""Pushing a file up: the other side says which blocks it lacks, and gets those. What arrived is not sent again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from luhyaapi import clock, log, points
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import frames, giver
from luhyaapi.transfer.base import Cancelled, Progress, Source, never, no_progress
from luhyaapi.transfer.blocks import GROUP, Index, numbers, ranges
from luhyaapi.transfer.download import PROTOCOLS, Patience

T = TypeVar("T")
_log = log.get(__name__)
AT_ONCE = 8 * GROUP
"""Blocks that one request brings, at most; they are gathered in memory."""
BODY_AT_MOST = 8 * frames.LARGEST
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_AGAIN_AT_MOST = 5

Frames = Callable[[Sequence[int]], Iterator[bytes]]
"""Frames of these blocks of a file, by rising numbers; see :class:`luhyaapi.transfer.giver.Giver`."""


def push(
    to: Source, index: Index, frames_of: Frames, *, on_progress: Progress = no_progress, cancelled: Cancelled = never,
    patience: Patience | None = None,
) -> int:
    """Have all blocks of a file in the draft at ``to.url``; bytes that moved. ``on_progress`` counts bytes of the file.

    Raises Unavailable(transfer) after ``patience``, Refused(cancelled), and what the other side refuses.
    """
    return _Push(to, index, frames_of, on_progress, cancelled, patience or Patience()).run()


def lacks(lacking: Sequence[int]) -> dict[str, Any]:
    """What the other side answers."""
    return {"lacking": ranges(lacking)}


class _Push:
    def __init__(self, to: Source, index: Index, frames_of: Frames, on_progress: Progress, cancelled: Cancelled, patience: Patience) -> None:
        self._to, self._index, self._frames_of = to, index, frames_of
        self._on_progress, self._cancelled, self._patience = on_progress, cancelled, patience
        self._begun = self._fed = clock.monotonic()
        self._pause = _FIRST_PAUSE_S
        self._moved = 0

    def run(self) -> int:
        for _ in range(_AGAIN_AT_MOST):
            lacking = self._persist(self._begin)
            if not lacking:
                self._on_progress(self._index.size, self._index.size)
                return self._moved
            try:
                self._send(lacking)
            except Refused as e:
                if e.code != "not_found":
                    raise
                _log.info("the draft is begun again", why=str(e))
        raise Failed("transfer", "The file does not become whole on the other side", "it lacks blocks that it was sent")

    def _begin(self) -> list[int]:
        body = giver.squeeze(self._index)
        points.at("push: before begin")
        said = self._put(f"index?size={self._index.size}&name={self._index.name}", body)
        text = said.get("lacking")
        if not isinstance(text, str):
            raise Failed("transfer", "The other side answered something else than was asked")
        return numbers(text, len(self._index)) if text else []

    def _send(self, lacking: list[int]) -> None:
        left = sum(self._index.length(n) for n in lacking)
        for at in range(0, len(lacking), AT_ONCE):
            some = lacking[at : at + AT_ONCE]
            self._on_progress(self._index.size - left, self._index.size)
            points.at("push: before send")
            self._persist(lambda some=some: self._put("blocks", b"".join(self._frames_of(some))))  # type: ignore[misc]
            left -= sum(self._index.length(n) for n in some)

    def _put(self, what: str, body: bytes) -> dict[str, Any]:
        answer = PROTOCOLS[urlsplit(self._to.url).scheme].put(replace(self._to, url=f"{self._to.url}/{what}"), body, self._cancelled)
        self._moved += len(body)
        self._fed, self._pause = clock.monotonic(), _FIRST_PAUSE_S
        try:
            said = json.loads(answer)
        except ValueError as e:
            raise Failed("transfer", "The other side answered something else than was asked", str(e)) from e
        return said if isinstance(said, dict) else {}

    def _persist(self, ask: Callable[[], T]) -> T:
        while True:
            try:
                return ask()
            except Unavailable as cut:
                now = clock.monotonic()
                if now - self._fed + self._pause > self._patience.idle_s or now - self._begun + self._pause > self._patience.total_s:
                    raise Unavailable("transfer", "The bytes did not arrive", cut.why or str(cut)) from cut
                _log.info("push cut", why=str(cut))
                clock.sleep(self._pause)
                self._pause = min(self._pause * 2, _LONGEST_PAUSE_S)
            if self._cancelled():
                raise Refused("cancelled", "Sending the file was cancelled")
