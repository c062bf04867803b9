"""Roles that die at a chosen point: before a transaction, a journal write, a message or a driver's verb."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections

from luhyaapi import points
from luhyaapi.journal import Journal
from luhyadb import memory
from nc.drivers.fake import Faults
from tests.support import backends
from tests.support.flow_world import NODES, Crash, World, opened

_LIMIT = 2000


class Fuse:
    """Counts the points a role passes; dies at the ``at``-th (from 0), once. ``points`` names them."""

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.points: list[str] = []

    def pass_by(self, point: str) -> None:
        self.points.append(point)
        if len(self.points) - 1 == self.at:
            raise Crash(point)


class FusedJournal(Journal):
    """A journal whose process may die before each write."""

    fuse: Fuse

    @contextlib.contextmanager
    def _write(self) -> Iterator[Any]:
        if hasattr(self, "fuse"):
            self.fuse.pass_by("journal")
        with super()._write() as db:
            yield db


class FusedFaults(Faults):
    """A hypervisor whose caller may die before each verb, and right after it (before the next)."""

    fuse: Fuse

    def strike(self, verb: str, about: str = "") -> None:
        if verb not in ("list", "inspect", "probe"):
            self.fuse.pass_by(verb)
        super().strike(verb, about)


@contextlib.contextmanager
def fused(world: World, name: str, fuse: Fuse) -> Iterator[None]:
    """The role ``name`` may die at any point while this is open."""
    agent = world.p.houses[name].agent
    agent.journal = FusedJournal(agent.settings.host.state / "journal.sqlite")
    agent.journal.fuse = fuse
    host = agent.me
    if name in NODES:
        hands = agent.services.domains._hands
        for driver in (hands.hypervisor, hands.network):
            driver.faults = FusedFaults()
            driver.faults.fuse = fuse

    def posts(direction: str, to: str, message: bytes) -> list[bytes]:
        sender = opened(message)["sender"] if direction == "down" else to
        if sender == host:
            fuse.pass_by(f"post {opened(message)['kind']}")
        return [message]

    def statement(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        begins = sql.startswith("BEGIN") or (
            not context["connection"].in_atomic_block and sql.startswith(("INSERT", "UPDATE", "DELETE"))
        )
        if begins:
            fuse.pass_by(sql[:20])
        return execute(sql, params, many, context)

    def begin(point: str) -> None:
        # of MariaDB no BEGIN is seen
        if point == "database: before write" and backends.is_mariadb() and memory.current() == name:
            fuse.pass_by("BEGIN IMMEDIATE")

    world.tap(posts)
    before = points.use(begin)
    try:
        if name in ("clc", "cc"):
            with connections["default" if name == "clc" else "cc"].execute_wrapper(statement):
                yield
        else:
            yield
    finally:
        points.use(before)
        world.tap(lambda _d, _h, message: [message])


def settle(world: World, name: str) -> bool:
    """Until nothing moves; the role that dies is started again at once. Whether it died."""
    died = False
    for _ in range(_LIMIT):
        try:
            if not world.p.step():
                return died
        except Crash:
            died = True
            with memory.of(memory.current()):
                world.crash(name)
    raise AssertionError("it does not come to rest")
