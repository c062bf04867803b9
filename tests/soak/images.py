"""Each role dies at each named point while an image is uploaded, moved, changed, submitted, abandoned or retired; all in one process."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import tests.conftest  # noqa: F401 - settles Django for one process
from tests.soak import tally
from tests.soak.tally import Budget, Tally


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """All stories of a death in an order by chance, as many as there is time for; each counts once, at the point where it died."""
    from tests.simulator import cloud, image_deaths

    found, seeds = Tally("images"), list(image_deaths.seeds())
    budget.chance.shuffle(seeds)
    with cloud.own_memories():
        while budget.left() > 0 and not (given.most and found.runs.total() >= given.most):
            if not seeds:
                break
            one(seeds.pop(), found)
    return found


def one(seed: str, found: Tally) -> None:
    """One story; where nobody died nothing is counted, unless something broke."""
    from tests.simulator import story

    result = story.run(story.planned(seed))
    died = next((r for r in result.records if r["what"] == "dies"), None)
    work = seed.split("/")[1]
    point = _named(died, work) if died else f"{work}: nobody died"
    if died:
        found.count(point)
    if result.violations:
        found.fail(point, "; ".join(result.violations[:3]), f"python -m tests.simulator --story '{seed}'")


def _named(died: dict[str, Any], work: str) -> str:
    return f"{work}: {died['who'].rstrip('0123456789')} {died['at']}"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--most", type=int, default=0, help="so many deaths; 0: all there are, or as many as there is time for")


def main(argv: list[str] | None = None) -> int:
    """The program."""
    from luhyaapi import log

    log.setup("CRITICAL")
    return tally.program("images", run, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
