"""Looks into the store of images of a seed that makes versions: whenever something in it changed, and a day after the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import connections

from luhyaapi import clock
from tests.simulator import stored
from tests.simulator.plan import OF_IMAGES

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation


class Eye:
    """Tells what it sees as records of the history; see :func:`tests.simulator.stored.picture`."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._is_open = any(item.name in OF_IMAGES for item in sim.plan.items)
        self._folder = sim.p.folder / "walrus" / "store" / "objects"
        self._seen: object = None

    def look(self) -> None:
        """What the store holds now, if that is something else than before."""
        if not self._is_open:
            return
        published = _published()
        mark = published, [f.name for what in ("packs_", "manifests_", "indexes_") for f in sorted((self._folder / what).glob("*"))]
        if mark != self._seen:
            self._seen = mark
            self._sim.tell("walrus", "store", found=stored.picture(self._folder, published))

    def a_day_later(self) -> dict[str, Any] | None:
        """What it holds when it has forgotten the drafts nobody goes on with."""
        if not self._is_open or "walrus" not in self._sim.p.houses:
            return None
        services = self._sim.p.houses["walrus"].agent.services
        services.library.drafts.sweep(-clock.now())
        services.store.collect()
        return stored.picture(self._folder, _published())


def _published() -> set[str]:
    """The files that published versions are made of."""
    found = connections["default"].connection.execute("select blobs from luhyadb_imageversion where state = 'published'").fetchall()
    return {blob["sha256"] for (blobs,) in found for blob in json.loads(blobs)}
