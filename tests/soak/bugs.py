"""The deliberate bugs, each planted and looked for: a bug that nobody sees is a failure of the suite."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tests.conftest  # noqa: F401 - settles Django for one process
from cc.services import strangers
from luhyaapi.errors import Refused
from nc.services.domains import Domains
from tests.simulator import bugs
from tests.soak import starts, tally
from tests.soak.tally import Budget, Tally

AT_MOST = 200
"""Seeds to look for a bug in."""


@dataclass(frozen=True)
class Elsewhere:
    """A bug that the simulator cannot see. ``sees`` is the part of the suite that does, in words; ``look`` says what that found."""

    what: str
    sees: str
    patches: Callable[[], list[bugs.Patch]]
    look: Callable[[], list[str]]


def _no_fence_check() -> list[bugs.Patch]:
    def newest(self: Any, instance: str, gen: int, _fence: int) -> Any:
        wanted = self.wanted.read(instance)
        if wanted is not None and gen < wanted.gen:
            raise Refused("state", "The order is older than what this node knows", f"generation {gen}, here {wanted.gen}")
        return wanted

    return [(Domains, "_newest", newest)]


def _double_starts() -> list[str]:
    found = starts.run(Budget(60, 1), argparse.Namespace(most=2 * len(starts.SHAPES)))
    return sorted({f"{f.point}: {f.story}" for f in found.failures})


def _many_strangers() -> list[str]:
    from tests.flow import test_strangers
    from tests.support import flow_world

    template = flow_world.make_template()
    try:
        with flow_world.fresh(template) as world:
            test_strangers.test_more_than_a_tenth_are_left_alone_and_told(world)
    except AssertionError as error:
        return [str(error) or "they were not left alone"]
    finally:
        shutil.rmtree(template[0], ignore_errors=True)
    return []


ELSEWHERE = {
    "no_fence_check": Elsewhere(
        "an order with an older fence is carried out when its generation is not older", "the double starts", _no_fence_check, _double_starts,
    ),
    "no_brake": Elsewhere(
        "guests that nobody ordered are stopped, however many they are", "the walk of three strangers",
        lambda: [(strangers, "_TENTH", 1e-9)], _many_strangers,
    ),
}
"""The cluster gives every placement the same fence, and a simulated node never forgets what it was told to run: no seed could show these."""


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """Each bug once, in an order by chance, as long as there is time; one counts as caught when what was found is not there without it."""
    from tests.simulator import cloud, image_bugs

    _ = image_bugs  # it adds its own
    found, names = Tally("bugs"), sorted({*bugs.BUGS, *ELSEWHERE} & set(given.bug or {*bugs.BUGS, *ELSEWHERE}))
    budget.chance.shuffle(names)
    for name in names:
        if budget.left() <= 0:
            break
        if name in ELSEWHERE:
            _elsewhere(name, found)
            continue
        with cloud.own_memories():
            _simulated(name, found)
    return found


def _elsewhere(name: str, found: Tally) -> None:
    one = ELSEWHERE[name]
    with bugs.patched(one.patches()):
        seen = one.look()
    _count(name, one.what, found, f"by {one.sees}" if seen and not one.look() else "")


def _simulated(name: str, found: Tally) -> None:
    """The seeds in turn from 0 on, not those that are known to show it."""
    from tests.simulator import story

    for seed in range(AT_MOST):
        planned = story.planned(str(seed), name)
        try:
            violations = story.run(planned, name).violations
        except Exception as error:
            # what a bug makes may be nothing a client of the simulator knows, and no rule has seen it then
            print(f"seed {seed} with {name} falls over: {type(error).__name__} {error}", file=sys.stderr, flush=True)
            continue
        if violations:
            sound = story.run(planned).violations
            _count(name, bugs.BUGS[name].what, found, "" if sound else f"at seed {seed}", seed + 1)
            return
    _count(name, bugs.BUGS[name].what, found, "", AT_MOST)


def _count(name: str, what: str, found: Tally, caught: str, after: int = 1) -> None:
    found.count(name)
    found.facts[name] = {"what": what, "caught": caught, "after": after}
    if not caught:
        found.fail(name, f"nobody saw, or somebody sees without it, that {what}", f"python -m tests.soak.bugs --bug {name}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--bug", action="append", help="only this one; may be given again")


def main(argv: list[str] | None = None) -> int:
    """The program."""
    from luhyaapi import log

    log.setup("CRITICAL")
    return tally.program("bugs", run, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
