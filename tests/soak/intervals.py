"""Who held what when: a log that many processes append to, and the independent judge of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

_EPSILON_S = 0.005


class IntervalLog:
    """Lines ``<sign> <seconds> <holder> <thing>...``: ``+`` once it is held, ``-`` before it is given back, ``!`` trouble.

    Each line is one write to the end of the file, so lines of many processes do not mix, and a killed one leaves whole lines.
    """

    def __init__(self, file: Path) -> None:
        self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, sign: str, holder: str, *words: str) -> None:
        """One line, stamped now by the clock all processes of a machine share."""
        os.write(self._handle, f"{sign} {time.monotonic():.6f} {holder} {' '.join(words)}\n".encode())


@dataclass
class Verdict:
    """``taken``: how often something was lent; ``twice``, ``early`` (before its rest was over), ``trouble``: in words."""

    taken: int = 0
    twice: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def judge(file: Path, rest_s: float) -> Verdict:
    """Read a log: nothing is held twice at any time, nothing is lent again before it rested."""
    lines = [line.split(" ", 3) for line in file.read_text("utf-8").splitlines()]
    lines.sort(key=lambda words: float(words[1]))
    verdict = Verdict()
    held: dict[str, str] = {}
    by: dict[str, set[str]] = {}
    freed: dict[str, float] = {}
    for sign, stamp, holder, rest in lines:
        at = float(stamp)
        if sign == "!":
            verdict.trouble.append(f"{holder} {rest}")
        elif sign == "+":
            verdict.taken += 1
            for thing in rest.split():
                other = held.get(thing)
                if other is not None and other != holder:
                    verdict.twice.append(f"{thing} held by {other} and by {holder}")
                if at - freed.get(thing, -1e9) < rest_s - _EPSILON_S:
                    verdict.early.append(f"{thing} lent to {holder} {at - freed[thing]:.3f} s after it was given back")
                held[thing] = holder
                by.setdefault(holder, set()).add(thing)
        else:
            for thing in by.pop(holder, ()):
                if held.get(thing) == holder:
                    del held[thing]
                freed[thing] = at
    return verdict
