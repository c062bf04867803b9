"""What a kind of run counts: how often each point or shape was tried, and each failure with what repeats it."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.soak import spans
from tests.soak.spans import Span


@dataclass(frozen=True)
class Failure:
    """One run that did not end as promised. ``replay`` is a command line."""

    point: str
    story: str
    replay: str


@dataclass
class Tally:
    """Counts of one kind. ``figures`` are measured on the way, such as a rate.

    ``spans`` says, of a point whose runs are numbered, which numbers were run: the ledger counts none of them twice. ``came`` says of
    such a point in which of them each thing came, and ``facts`` what stands beside its counts, each as the last run found it.
    """

    kind: str
    runs: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    spans: dict[str, list[Span]] = field(default_factory=dict)
    came: dict[str, dict[str, list[Span]]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def count(self, point: str, times: int = 1) -> None:
        """That point was tried."""
        self.runs[point] += times

    def fail(self, point: str, story: str, replay: str) -> None:
        """It did not end as promised."""
        self.failures.append(Failure(point, story[:2000], replay))
        print(f"FAILED {self.kind} {point}: {story}\n  again: {replay}", file=sys.stderr, flush=True)

    def form(self) -> dict[str, Any]:
        """As it stands on the last line of a run."""
        return {
            "kind": self.kind, "runs": dict(sorted(self.runs.items())), "failures": [vars(f) for f in self.failures],
            "figures": {k: round(v, 3) for k, v in self.figures.items()}, "spans": {k: spans.write(v) for k, v in self.spans.items()},
            "came": {k: {what: spans.write(v) for what, v in each.items()} for k, each in self.came.items()}, "facts": self.facts,
        }

    @classmethod
    def read(cls, form: dict[str, Any]) -> Tally:
        """What :meth:`form` wrote."""
        return cls(form["kind"], Counter(form["runs"]), [Failure(**f) for f in form["failures"]], dict(form["figures"]),
                   {k: spans.read(v) for k, v in form.get("spans", {}).items()},
                   {k: {what: spans.read(v) for what, v in each.items()} for k, each in form.get("came", {}).items()}, form.get("facts", {}))


@dataclass
class Budget:
    """How long a kind may go on, and its own chance."""

    seconds: float
    seed: int
    began: float = field(default_factory=time.monotonic)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def left(self) -> float:
        """Seconds."""
        return self.began + self.seconds - time.monotonic()


Run = Callable[[Budget, argparse.Namespace], Tally]


def program(name: str, run: Run, arguments: Callable[[argparse.ArgumentParser], object] = lambda _parser: None,
            argv: Sequence[str] | None = None) -> int:
    """A kind as a program of its own: ``--seconds`` and ``--seed``; the last line is the tally as JSON; 1 when something failed."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.soak.{name}")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="by default another one each time")
    arguments(parser)
    given = parser.parse_args(argv)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    tally = run(Budget(given.seconds, seed), given)
    print(json.dumps(tally.form()), flush=True)
    return 1 if tally.failures else 0
