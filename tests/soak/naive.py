"""Leases as one writes them first: look for a free row, then mark it. What is lent twice that way is what the judge must see."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from tests.soak import allocations, tally
from tests.soak.allocations import HOLD_S, Ground, again, fork, wait_for
from tests.soak.intervals import judge
from tests.soak.tally import Budget, Tally

_THINGS = 250


class Naive:
    """``take`` and ``give_back`` in statements of their own, without a lock, a constraint or a condition."""

    def begin(self) -> None:
        """All are free."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("create table naive_lease (thing varchar(20) primary key, holder varchar(20))")
            cursor.executemany("insert into naive_lease values (%s, '')", [(f"10.9.1.{n}",) for n in range(_THINGS)])

    def take(self, holder: str) -> str:
        """The first that is free, or an empty text."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("select thing from naive_lease where holder = '' order by thing limit 1")
            row = cursor.fetchone()
            if row:
                cursor.execute("update naive_lease set holder = %s where thing = %s", [holder, row[0]])
        return str(row[0]) if row else ""

    def give_back(self, holder: str) -> None:
        """It is free again."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("update naive_lease set holder = '' where holder = %s", [holder])


def _taker(ground: Ground, naive: Naive, life: int, chance: random.Random) -> None:
    for n in range(1 << 16):
        if ground.over:
            return
        holder = f"ins-{life:04x}{n:04x}"
        thing = again(lambda one=holder: naive.take(one))
        if thing:
            ground.log.write("+", holder, thing)
            time.sleep(chance.uniform(0, 2 * HOLD_S))
            ground.log.write("-", holder)
            again(lambda one=holder: naive.give_back(one))


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """So many takers for so long; nobody is killed. How often a thing was held twice is a figure, and no failure."""
    return allocations.on(given.database, lambda folder, url, _server: _run(budget, given, folder, url))


def _run(budget: Budget, given: argparse.Namespace, folder: Path, url: str) -> Tally:
    from django.db import connections

    allocations.prepare(folder, url)
    naive, ground = Naive(), Ground(folder)
    naive.begin()
    connections.close_all()
    budget.began = time.monotonic()
    pids = [fork(_taker, ground, naive, n, random.Random(budget.seed * 100003 + n)) for n in range(given.takers)]
    time.sleep(budget.seconds)
    ground.flag[0] = 1
    took = time.monotonic() - budget.began
    wait_for(pids)
    verdict, found = judge(ground.file, 0), Tally("naive")
    found.count(f"{given.takers} takers on {given.database}", verdict.taken)
    found.figures = {"per_s": verdict.taken / took, "twice": len(verdict.twice)}
    return found


if __name__ == "__main__":
    sys.exit(tally.program("naive", run, allocations.arguments))
