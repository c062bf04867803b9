"""All five roles in one process over the memory wire: doors, journals, databases and console are the real ones."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from clc.services import own, pictures
from deploy.roles import ROLES, House, Links
from luhyaapi import clock, conf, facts, log
from luhyaapi.conf import Settings
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Trouble
from luhyaapi.process import Loop
from luhyaapi.wire import identity, joining
from luhyaapi.wire.memory import MemoryDownLink, MemoryUpLink, MemoryWire
from luhyadb import memory
from luhyadb.models import Child, Host

_log = log.get(__name__)
ACTING = (Role.WALRUS, Role.CC, Role.NC, Role.SC)
_PUMP_EVERY_S = 0.2
_DRAIN_S = 2.0


class Together:
    """The roles whose folders, each with its configuration, lie beside that of the CLC with these ``settings``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.host.state.parent
        self._wire = MemoryWire()
        self._pump = Loop("wire", self._wire.pump, _PUMP_EVERY_S)
        self._wire.on_post = self._pump.wake
        self._houses: list[House] = []
        self._others: list[Settings] = []
        self._stopped = threading.Event()
        self._joining = threading.Thread(target=self._join_all, name="join", daemon=True)

    def start(self) -> None:
        """The CLC runs; the others join it, or come back, in a thread of their own. Raises a Trouble of the CLC."""
        self._others = [configured(self._home, role) for role in ACTING]
        me = own.load(self._settings.host.state)
        down = MemoryDownLink(self._wire, me.id)
        with memory.thread_of("clc"):
            _admit(down, Host.objects.filter(boss=me.id).exclude(state__in=[HostState.RETIRED, HostState.NEW]).values_list("pk", flat=True))
        house = ROLES[Role.CLC](self._settings, me.membership, me.key, Links(down=down))
        # One process, one board: what the relay writes the console reads.
        house.agent.services = dataclasses.replace(house.agent.services, board=pictures.board())
        self._pump.start()
        self._open(house)
        self._joining.start()

    def stop(self) -> None:
        """Everything under way is told, then the hands stop before their bosses."""
        self._stopped.set()
        until = clock.monotonic() + _DRAIN_S
        while self._wire.pending() and clock.monotonic() < until:
            clock.sleep(0.05)
        for house in reversed(self._houses):
            house.stop()
        self._pump.stop()

    def _open(self, house: House) -> None:
        house.start()
        self._houses.append(house)
        _log.info("role runs", host=house.agent.me)

    def _join_all(self) -> None:
        # In this order: a boss must stand before its children ask at its door.
        for settings in self._others:
            try:
                self._join(settings)
            except Trouble as e:
                if self._stopped.is_set():
                    return
                _log.error("cannot run", role=str(settings.host.role), code=e.code, what=e.what, why=e.why, hint=e.hint)
                os._exit(1)

    def _join(self, settings: Settings) -> None:
        granted = joining.membership(settings, self._stopped.is_set, facts.marks())
        down = None
        if settings.host.role is Role.CC:
            down = MemoryDownLink(self._wire, granted.host)
            with memory.thread_of("cc"):
                _admit(down, Child.objects.values_list("pk", flat=True))
        key = identity.own_key(settings.host.identity)
        self._open(ROLES[settings.host.role](settings, granted, key, Links(MemoryUpLink(self._wire, granted.host), down)))


def configured(home: Path, role: Role) -> Settings:
    """A role's settings from its own file; those of this process stay as they are. Raises Refused(invalid | not_found)."""
    before = os.environ.get(conf.CONFIG_VARIABLE)
    try:
        return conf.load(home / role / f"{role}.toml")
    finally:
        if before is not None:
            os.environ[conf.CONFIG_VARIABLE] = before


def _admit(down: MemoryDownLink, children: Iterable[str]) -> None:
    """A wire in memory knows nobody after a start."""
    for child in list(children):
        down.admit(child)
