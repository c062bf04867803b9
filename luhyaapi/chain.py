"""The chain of the record of changes: the digest of each line holds the one before it, so that a changed, removed or inserted line shows.

Pure: the sealer makes the chain by these functions, and whoever has an export verifies it by them, far from the cloud.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luhyaapi.errors import Refused

START = "0" * 64
"""What stands before the first line."""
REMOVED = ("audit", "older events removed")
"""Noun and words of the line that names the last one retention removed, by ``upto`` and ``digest`` of its fields."""
FAULTS_NAMED = 20
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")
_SEAL = ("previous", "digest")


@dataclass(frozen=True, order=True)
class Head:
    """Where a chain stands: the number of its last line, and its digest."""

    number: int = 0
    digest: str = START

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


def head(text: str) -> Head:
    """A head as it was noted, ``NUMBER:DIGEST``. Raises Refused(invalid)."""
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        raise Refused("invalid", "The head cannot be read", f"{text[:80]!r}: give NUMBER:DIGEST as an export or the log says it")
    return Head(int(found[1]), found[2])


def canonical(line: Mapping[str, Any]) -> bytes:
    """The one form of a line: JSON with sorted names and no blanks, in ASCII."""
    return json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest(previous: str, line: Mapping[str, Any]) -> str:
    """The digest of a line behind another one's."""
    return hashlib.sha256(previous.encode() + b"\n" + canonical(line)).hexdigest()


@dataclass
class Verdict:
    """What was found. ``whole``: nothing was filtered; ``unsealed``: events that were not in the chain yet."""

    lines: int = 0
    first: int = 0
    last: Head = field(default_factory=Head)
    whole: bool = False
    unsealed: int = 0
    faults: list[str] = field(default_factory=list)
    more: int = 0

    def fault(self, text: str) -> None:
        """Note one; after the twentieth they are counted."""
        if len(self.faults) < FAULTS_NAMED:
            self.faults.append(text)
        else:
            self.more += 1


class Check:
    """Reads an export piece by piece, in order: its lines, and at the end its trailer. ``heads``: what was noted elsewhere."""

    def __init__(self, heads: Sequence[Head] = ()) -> None:
        self.verdict = Verdict()
        self._heads = {each.number: each for each in heads}
        self._wanted = set(heads)
        self._gaps: list[str] = []
        self._blind: list[int] = []
        self._before = Head()
        self._anchor = Head()
        self._removed: set[Head] = set()
        self._trailer: Mapping[str, Any] | None = None
        self._place = 0

    def read(self, text: str) -> None:
        """One piece of the export as it stands in the file."""
        self._place += 1
        if not text.strip():
            return
        try:
            form = json.loads(text)
            if self._trailer is not None:
                self.verdict.fault(f"piece {self._place} of the file stands behind its trailer")
            elif "head" in form:
                self._trailer = form
            else:
                self._line(dict(form))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self.verdict.fault(f"piece {self._place} of the file is no line of an export")

    def _line(self, form: dict[str, Any]) -> None:
        previous, own = (str(form.pop(name)) for name in _SEAL)
        number = int(form["number"])
        if not previous:
            self._blind.append(number)  # the cloud has the line before it no more
        elif digest(previous, form) != own:
            self.verdict.fault(f"line {number} was changed")
        here = Head(number, own)
        self._follows(here, previous)
        if here in self._wanted:
            self._wanted.discard(here)
        elif number in self._heads:
            self.verdict.fault(f"line {number} has another digest than was noted: everything up to it may have been made anew")
            self._wanted.discard(self._heads[number])
        if (form.get("noun"), form.get("what")) == REMOVED:
            told = form.get("fields") or {}
            self._removed.add(Head(int(told["upto"]), str(told["digest"])))
        self.verdict.lines += 1
        self.verdict.last = self._before = here

    def _follows(self, here: Head, previous: str) -> None:
        before = self._before
        if not self.verdict.lines:
            self.verdict.first = here.number
            self._before = before = Head(here.number - 1, previous)
            self._anchor = before
        if here.number <= before.number:
            self.verdict.fault(f"line {here.number} stands behind line {before.number}: it was moved or put in")
        elif here.number > before.number + 1:
            lack = f"line {here.number - 1} was removed" if here.number == before.number + 2 else f"lines {before.number + 1} to {here.number - 1} were removed"
            self._gaps.append(lack)
        elif previous != before.digest:
            self.verdict.fault(f"line {here.number} does not follow from line {before.number}: one of them was changed, or a line was put in")

    def end(self) -> Verdict:
        """What is to be said of all of it."""
        found = self.verdict
        trailer = self._trailer
        if trailer is None:
            found.fault("the export has no trailer: its end was cut off")
            trailer = {"head": str(found.last), "whole": True}
        try:
            last, found.whole, found.unsealed = head(str(trailer["head"])), bool(trailer["whole"]), int(trailer.get("unsealed", 0))
            if found.whole:
                self._judge_whole(last)
            else:
                for number in self._blind:
                    found.fault(f"line {number} cannot be verified: line {number - 1} was removed")
        except (Refused, TypeError, ValueError, KeyError, OverflowError):
            found.fault("the trailer cannot be read")
        for noted in sorted(self._wanted):
            self._judge_noted(noted)
        return found

    def _judge_whole(self, last: Head) -> None:
        found = self.verdict
        for gap in self._gaps:
            found.fault(gap)
        if last.number > found.last.number:
            found.fault(f"the chain ends with line {found.last.number}, and was sealed up to line {last.number}: its tail was cut off")
        elif last != found.last:
            found.fault(f"the head is noted as {last}, and line {found.last.number} is the last")
        if found.lines and self._anchor != Head() and self._anchor not in self._removed:
            found.fault(f"the chain begins with line {found.first}, and no line says that those before were removed by retention")

    def _judge_noted(self, noted: Head) -> None:
        found = self.verdict
        if not found.whole:
            found.fault(f"whether line {noted.number} is as it was noted cannot be told from a filtered export")
        elif noted.number > found.last.number:
            found.fault(f"line {noted.number} was noted, and the chain ends with line {found.last.number}: its tail was cut off")
        elif noted.number < found.first - 1:
            found.fault(f"line {noted.number} was noted, and retention removed it: note a newer one")
        elif noted != self._anchor:
            found.fault(f"line {noted.number} is not as it was noted")
