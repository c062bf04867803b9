"""Roles killed at random named points of random orders, in one process and by hand-moved time; they start again, and all is done.

The CLC's web process dies in a request, which is said again with its key; the store dies while it publishes; the storage, whose
only order yet is to tell its facts, over that.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.soak import tally
from tests.soak.tally import Budget, Tally

if TYPE_CHECKING:
    from tests.support.flow_crashes import Fuse
    from tests.support.flow_world import World

ENDS = {"run": "running", "stop": "stopped", "start": "running", "reboot": "running", "delete": "deleted"}
NEXT = {"": ("run",), "run": ("stop", "reboot", "delete"), "stop": ("start", "delete"), "start": ("stop", "reboot", "delete"),
        "reboot": ("stop", "delete"), "delete": ("run",)}
ROLES = ("clc", "cc", "nc1", "web", "walrus", "sc", "all")
_OF_STORE = ("pack", "object", "manifest", "collect")
_FRESH_EVERY = 60


def _named(point: str) -> str:
    """A point as the ledger calls it: a database's statements are transactions, each outside one is one of its own."""
    return "transaction" if point.split(" ", maxsplit=1)[0] in ("BEGIN", "INSERT", "UPDATE", "DELETE") else point


@contextlib.contextmanager
def _passing(fuse: Fuse, beginning: tuple[str, ...] = ()) -> Iterator[None]:
    """Whoever acts may die at each named point, or at those that begin so."""
    from luhyaapi import points

    before = points.use(lambda point: fuse.pass_by(point) if not beginning or point.startswith(beginning) else None)
    try:
        yield
    finally:
        points.use(before)


class Case:
    """One cloud whose one node takes one order after the other, each with a death in it."""

    def __init__(self, world: World, budget: Budget, found: Tally, again: str) -> None:
        self._world, self._budget, self._found, self._again = world, budget, found, again
        self._instance, self._verb, self._number = "", "", 0
        self._lengths: dict[tuple[str, str], int] = {}
        self._client: Any = None
        world.drain("nc2")

    def step(self) -> None:
        """One order, and one role that dies at one point of it."""
        chance = self._budget.chance
        role, verb = chance.choice(ROLES), chance.choice(NEXT[self._verb])
        self._number += 1
        if role == "all":
            self._power_cut(verb)
        elif role == "web":
            self._request(verb)
        elif role in ("walrus", "sc"):
            self._beside(role)
        else:
            ident, task = self._world.ask(verb, *([self._instance] if verb != "run" else []))
            point, told = self._die(role, verb)
            self._judge(point, told, lambda: self._ended(verb, ident, task))

    def _fuse(self, role: str, verb: str) -> Fuse:
        from tests.support.flow_crashes import Fuse

        return Fuse(self._budget.chance.randrange(self._lengths.get((role, verb), 30)))

    def _burnt(self, role: str, verb: str, fuse: Fuse, *, died: bool) -> tuple[str, str]:
        """The point it died at, empty when it did not, and all of it in words."""
        at, fuse.at = fuse.at, -1
        if not died:
            self._lengths[role, verb] = max(1, len(fuse.points))
        return f"{role} {_named(fuse.points[at])}" if died else "", f"point {at} of {verb} at {role}"

    def _die(self, role: str, verb: str) -> tuple[str, str]:
        """What was asked for is done, and the role dies over it."""
        from tests.support.flow_crashes import fused, settle

        fuse = self._fuse(role, verb)
        with fused(self._world, role, fuse), _passing(fuse, _OF_STORE):
            died = settle(self._world, role)
        told = self._burnt(role, verb, fuse, died=died)
        self._world.until_rest()
        return told

    def _request(self, verb: str) -> None:
        """It is said again until it is answered, and once more."""
        from django.db import connections

        from luhyadb.models import Instance
        from tests.support.flow_world import Crash

        def statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith(("INSERT", "UPDATE", "DELETE")):
                fuse.pass_by("statement")
            return execute(sql, params, many, context)

        fuse, died, before = self._fuse("web", verb), False, Instance.objects.count()
        with _passing(fuse), connections["default"].execute_wrapper(statement):
            try:
                self._say(verb)
            except Crash:
                died = True
        point, told = self._burnt("web", verb, fuse, died=died)
        self._world.until_rest()

        def holds() -> None:
            # a DELETE has no key: it is said again where it did not happen
            times = 2 if verb != "delete" else int(self._world.state(self._instance) != "deleted")
            answers = [self._say(verb) for _ in range(times)]
            assert [a.status_code for a in answers] == [202] * times, [a.content[:300] for a in answers]
            assert len({a.content for a in answers}) <= 1, "said again, it was answered otherwise"
            assert Instance.objects.count() == before + (verb == "run"), "the request was carried out twice"
            self._world.until_rest()
            ident = answers[0].json()["results"][0]["id"] if verb == "run" else self._instance
            self._ended(verb, ident, Instance.objects.get(pk=ident).task)

        self._judge(point, told, holds)

    def _say(self, verb: str) -> Any:
        """The request of this step, as a client says it."""
        from tests.support import clc_world

        self._client = self._client or clc_world.World.api(None, self._world.user)  # type: ignore[arg-type]
        at, key = f"/api/v1/instances/{self._instance}", {"HTTP_IDEMPOTENCY_KEY": f"step-{self._number}", "SERVER_NAME": "localhost"}
        if verb == "run":
            return self._client.post("/api/v1/instances/", {"image": "tiny"}, format="json", **key)
        if verb == "delete":
            return self._client.delete(f"{at}/", SERVER_NAME="localhost")
        return self._client.post(f"{at}/{verb}/", {}, format="json", **key)

    def _beside(self, role: str) -> None:
        """The store publishes an image, or the storage tells its facts."""
        from clc.services import hosts
        from luhyadb.models import Host, ImageVersion
        from tests.support.flow_world import KERNEL

        world, name = self._world, f"image-{self._number}"
        if role == "walrus":
            task = world.upload(name, KERNEL + name.encode())
        else:
            host = hosts.refresh(world.admin, world.p.known["sc"][0].host)
        point, told = self._die(role, "publish" if role == "walrus" else "refresh")

        def holds() -> None:
            if role == "walrus":
                assert world.task(task.pk) == ("done", None)
                assert ImageVersion.objects.get(image__name=name).state == "published"
            else:
                assert Host.objects.get(pk=host.pk).state == "up"

        self._judge(point, told, holds)

    def _power_cut(self, verb: str) -> None:
        chance, world = self._budget.chance, self._world
        ident, task = world.ask(verb, *([self._instance] if verb != "run" else []))
        rounds = chance.randrange(20)
        for _ in range(rounds):
            world.p.step()
        for name in list(world.p.houses):
            world.crash(name)
        world.until_rest()
        self._judge("all roles at once", f"all after {rounds} rounds of {verb}", lambda: self._ended(verb, ident, task))

    def _ended(self, verb: str, ident: str, task: str) -> None:
        self._instance, self._verb = ident, verb
        found = self._world.task(task), self._world.state(ident)
        assert found == (("done", None), ENDS[verb]), f"{ident} {found}"

    def _judge(self, point: str, told: str, holds: Callable[[], None]) -> None:
        """What was asked for is done, and all is at rest; where nobody died nothing is counted."""
        if point:
            self._found.count(point)
        try:
            holds()
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
