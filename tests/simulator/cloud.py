"""The cloud a seed begins with: made once for each process, then copied in a few milliseconds; nothing in it is random."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from clc.services import own
from deploy.playground import Playground
from luhyaapi import clock, facts, ids
from luhyaapi.transfer import courier
from tests.simulator import keys, overlays, prepared, studio
from tests.simulator.clockwork import SimClock
from tests.simulator.disk import Disks, installed
from tests.support import backends, flow_world, scratch

OVER: dict[str, dict[str, Any]] = {
    "beat": {"every_s": 16.0, "reconcile_s": 20.0},
    "network": {"subnet": "10.231.0.0/27", "display_count": 40},
    "hypervisor": {"cpus": 12, "memory_mib": 2048},
}
"""Rhythms a little slower than in a real cloud, and few addresses and little room, so that both run out now and then."""
QUEUE = {"wait_s": 60.0, "per_node": 2, "at_most": 12, "each_at_most": 10}
"""Few turns at the same time, and nobody waits so long that a run could not come to rest."""
ALIASES = ("default", "cc")


class Machine(facts.Machine):
    """The same machine in every run."""

    boot_id = "00000000-0000-0000-0000-000000000000"

    def booted_at(self) -> float:
        return 0.0

    def load(self) -> float:
        return 0.5

    def cpus(self) -> int:
        return 4

    def memory(self) -> tuple[int, int]:
        return 16 * 2**30, 8 * 2**30

    def disk(self, folder: Path) -> tuple[int, int]:
        return 100 * 2**30, 50 * 2**30

    def process(self) -> int:
        return 100 * 2**20


@dataclass
class Template:
    """A cloud that has joined, with the published images ``tiny`` and ``lab``, the latter a disk: memories, journals, files and who is who."""

    now: float
    memories: dict[str, bytes]
    journals: dict[str, bytes]
    files: list[tuple[str, bytes]]
    known: dict[str, Any]
    home: Path


@contextmanager
def _worldly(now: SimClock, disks: Disks, chance: random.Random) -> Iterator[None]:
    """Time, chance, disks and machine are simulated while this is open, and downloads happen at once."""
    with ExitStack() as back:
        back.callback(clock.use, clock.use(now))
        back.callback(ids.use, ids.use(chance.randbytes))
        back.callback(facts.use, facts.use(Machine()))
        back.callback(courier.use, courier.use(lambda run, _name: run()))
        back.enter_context(installed(disks))
        yield


def _open_memories(given: dict[str, bytes] | None) -> None:
    for alias in ALIASES:
        told = connections[alias].settings_dict
        if told["NAME"] != ":memory:":
            connections[alias].close()
            told.update(NAME=":memory:", CONN_MAX_AGE=None)
            told["OPTIONS"] = told["OPTIONS"] | {"init_command": "PRAGMA synchronous=OFF;", "cached_statements": 1000}
        connections[alias].ensure_connection()
        connections[alias].needs_rollback = False
        if given is not None:
            connections[alias].connection.deserialize(given[alias])


@contextmanager
def own_memories() -> Iterator[None]:
    """Both databases are in memory while this is open; what was there before comes back."""
    home = scratch.folder("simulator-own")
    ours = settings.EDUCLOUD
    settings.EDUCLOUD = ours.model_copy(update={
        "host": ours.host.model_copy(update={"state": home}), "queue": ours.queue.model_copy(update=QUEUE),
    })
    chance = ids.use(random.Random("own").randbytes)
    own.make(home)
    ids.use(chance)
    before = {a: (dict(connections[a].settings_dict), dict(connections[a].settings_dict["OPTIONS"])) for a in ALIASES}
    for alias in ALIASES:
        connections[alias].close()
        connections[alias].connection = None
    _open_memories(None)
    try:
        yield
    finally:
        settings.EDUCLOUD = ours
        shutil.rmtree(home, ignore_errors=True)
        template.cache_clear()
        for alias, (kept, options) in before.items():
            raw = connections[alias].connection
            connections[alias].connection = None
            if raw is not None:
                raw.close()
            connections[alias].settings_dict.update(kept, OPTIONS=options)


@functools.cache
def template() -> Template:
    """Made at the first call of this process; call it inside :func:`own_memories`."""
    folder = scratch.folder("simulator")
    now, disks = SimClock(), Disks(folder)
    try:
        with _worldly(now, disks, random.Random("template")):
            for alias in ALIASES:
                backends.make_tables(alias)
            world = flow_world.World(folder, now)
            world.p = Playground(folder, folder / "clc", over=OVER)
            flow_world.populate(world)
            world.upload(studio.LAB, studio.disk(studio.LAB), "disk")
            world.p.settle()
            for house in list(world.p.houses):
                world.p.act(house, "beat")
            world.p.settle()
            files = [
                (str(f.relative_to(folder)), f.read_bytes()) for f in sorted(folder.rglob("*"))
                if f.is_file() and "identity" not in f.parts and "authority" not in f.parts and "journal" not in f.name
            ]
            memories = {a: connections[a].connection.serialize() for a in ALIASES}
            return Template(now.world, memories, disks.journals(), files, dict(world.p.known), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh(seed: str, now: SimClock, *, quick: bool = True) -> Iterator[tuple[Playground, Disks]]:
    """A copy of the template; nobody has begun yet. ``quick``: SQL is compiled once for all
    seeds, our own signatures are not proved, disks are made without a program.
    """
    made = template()
    folder = scratch.folder("simulated")
    disks = Disks(folder)
    now.world = now.start = made.now
    try:
        with _worldly(now, disks, random.Random(f"ids {seed}")), ExitStack() as quicker:
            _open_memories(made.memories)
            for name, data in made.journals.items():
                disks.give_journal(folder / name / "journal.sqlite", data)
            for name, data in made.files:
                file = folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                disks.synced.add(file.stat().st_ino)
            p = Playground(folder, folder / "clc", over=OVER)
            p.known = dict(made.known)
            if quick:
                quicker.enter_context(prepared.installed())
                quicker.enter_context(keys.remembered())
                quicker.enter_context(overlays.installed())
                p.known = {name: (membership, keys.Pen(key)) for name, (membership, key) in made.known.items()}
            yield p, disks
    finally:
        shutil.rmtree(folder, ignore_errors=True)
