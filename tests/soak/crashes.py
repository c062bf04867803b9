"""Roles killed at random named points of random orders, in one process and by hand-moved time; they start again, and all is done."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING

from tests.soak import tally
from tests.soak.tally import Budget, Tally

if TYPE_CHECKING:
    from tests.support.flow_world import World

ENDS = {"run": "running", "stop": "stopped", "start": "running", "reboot": "running", "delete": "deleted"}
NEXT = {"": ("run",), "run": ("stop", "reboot", "delete"), "stop": ("start", "delete"), "start": ("stop", "reboot", "delete"),
        "reboot": ("stop", "delete"), "delete": ("run",)}
ROLES = ("clc", "cc", "nc1", "all")
_FRESH_EVERY = 60


def _named(point: str) -> str:
    """A point as the ledger calls it: a database's statements are transactions, each outside one is one of its own."""
    return "transaction" if point.split(" ", maxsplit=1)[0] in ("BEGIN", "INSERT", "UPDATE", "DELETE") else point


class Case:
    """One cloud whose one node takes one order after the other, each with a death in it."""

    def __init__(self, world: World, budget: Budget, found: Tally, again: str) -> None:
        self._world, self._budget, self._found, self._again = world, budget, found, again
        self._instance, self._verb = "", ""
        self._lengths: dict[tuple[str, str], int] = {}
        world.drain("nc2")

    def step(self) -> None:
        """One order, and one role that dies at one point of it."""
        from tests.support.flow_crashes import Fuse, fused, settle

        chance, world = self._budget.chance, self._world
        role, verb = chance.choice(ROLES), chance.choice(NEXT[self._verb])
        if role == "all":
            self._power_cut(verb)
            return
        fuse = Fuse(chance.randrange(self._lengths.get((role, verb), 30)))
        ident, task = world.ask(verb, *([self._instance] if verb != "run" else []))
        with fused(world, role, fuse):
            died = settle(world, role)
        at, fuse.at = fuse.at, -1
        if not died:
            self._lengths[role, verb] = max(1, len(fuse.points))
        world.until_rest()
        self._judge(verb, ident, task, f"{role} {_named(fuse.points[at])}" if died else "", f"point {at} of {verb} at {role}")

    def _power_cut(self, verb: str) -> None:
        chance, world = self._budget.chance, self._world
        ident, task = world.ask(verb, *([self._instance] if verb != "run" else []))
        rounds = chance.randrange(20)
        for _ in range(rounds):
            world.p.step()
        for name in list(world.p.houses):
            world.crash(name)
        world.until_rest()
        self._judge(verb, ident, task, "all roles at once", f"all after {rounds} rounds of {verb}")

    def _judge(self, verb: str, ident: str, task: str, point: str, told: str) -> None:
        if point:
            self._found.count(point)
        self._instance, self._verb = ident, verb
        try:
            found = self._world.task(task), self._world.state(ident)
            assert found == (("done", None), ENDS[verb]), f"{ident} {found}"
            self._world.rest()
        except AssertionError as error:
            self._found.fail(point or "nobody died", f"{told}: {error}", self._again)
            raise


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """Clouds anew now and then, each with a seed of its own; a failure ends its cloud."""
    from tests.support import flow_world

    found = Tally("crashes")
    template = flow_world.make_template()
    try:
        seed = budget.seed
        while budget.left() > 0 and not (given.most and found.runs.total() >= given.most):
            with flow_world.fresh(template) as world:
                _one_cloud(world, Budget(budget.left(), seed), found, given)
            seed += 1
    finally:
        shutil.rmtree(template[0], ignore_errors=True)
    return found


def _one_cloud(world: World, budget: Budget, found: Tally, given: argparse.Namespace) -> None:
    case = Case(world, budget, found, f"python -m tests.soak.crashes --seed {budget.seed} --most {_FRESH_EVERY}")
    for _ in range(_FRESH_EVERY):
        if budget.left() <= 0 or (given.most and found.runs.total() >= given.most):
            return
        try:
            case.step()
        except AssertionError as error:
            if not found.failures:
                found.fail("settling", str(error), f"python -m tests.soak.crashes --seed {budget.seed} --most {_FRESH_EVERY}")
            return


def _alone() -> None:
    """As a program of its own: the world that tests have, in one process and on its own disk."""
    from tests import conftest

    _ = conftest.STATE


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--most", type=int, default=0, help="so many deaths; 0: only by time")


def main(argv: list[str] | None = None) -> int:
    """The program."""
    _alone()
    from luhyaapi import log

    log.setup("CRITICAL")
    return tally.program("crashes", run, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
