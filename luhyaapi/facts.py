"""What any host knows of itself: processor, memory, disk, load; the heartbeat is made of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from luhyaapi import __version__, clock
from luhyaapi.conf import Settings
from luhyaapi.contracts.reports import Hello, HostFacts
from luhyaapi.contracts.specs import Capacity
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import RoleShape
from luhyaapi.wire.signing import refusals

CPUS_PER_REAL_ONE = 32
_BOARD, _CARDS = Path("/sys/class/dmi/id/product_uuid"), Path("/sys/class/net")
_NOBODYS = ("03000200-0400-0500-0006-000700080009", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")
"""What boards say whose maker gave them no number."""
_MIB = 1024 * 1024


class Machine:
    """The machine below us, as it is now. Sizes in bytes, times in seconds, replaceable as a whole by the simulator."""

    @functools.cached_property
    def boot_id(self) -> str:
        """Changes with every boot of the machine."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def booted_at(self) -> float:
        """Since 1970."""
        return float(psutil.boot_time())

    def load(self) -> float:
        """The average of one minute."""
        return os.getloadavg()[0]

    def cpus(self) -> int:
        """Processors there are."""
        return os.cpu_count() or 1

    def memory(self) -> tuple[int, int]:
        """In all, and available."""
        found = psutil.virtual_memory()
        return int(found.total), int(found.available)

    def disk(self, folder: Path) -> tuple[int, int]:
        """In all, and free, where that folder is."""
        found = psutil.disk_usage(str(folder))
        return int(found.total), int(found.free)

    @functools.cached_property
    def _parent(self) -> int:
        return os.getppid()

    def is_supervised(self) -> bool:
        """Whether who started this process is still there to start it again."""
        return os.getppid() == self._parent

    def process(self) -> int:
        """What this process takes of the memory."""
        return int(psutil.Process().memory_info().rss)

    def marks(self) -> frozenset[str]:
        """Numbers of its board and of its network cards, those that can be read."""
        board = _line(_BOARD).lower()
        cards = {_line(card / "address") for card in _CARDS.glob("*") if (card / "device").exists()}
        return frozenset(({f"board {board}"} if board and board not in _NOBODYS else set()) | {f"card {a}" for a in cards if a.strip("0:")})


_machine = Machine()


def use(machine: Machine) -> Machine:
    """Put ``machine`` in place of the real one; returns the one that was there."""
    global _machine  # the one seam through which the machine enters the program
    before, _machine = _machine, machine
    return before


def marks() -> frozenset[str]:
    """By what this machine is told from others; empty where nothing of it can be read."""
    return _machine.marks()


def _line(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def boot_id() -> str:
    """Changes with every boot of the machine."""
    return _machine.boot_id


def capacity(settings: Settings) -> Capacity:
    """What this host offers in all."""
    h = settings.hypervisor
    return Capacity(
        cpus=h.cpus or CPUS_PER_REAL_ONE * _machine.cpus(),
        memory_mib=h.memory_mib or max(_machine.memory()[0] // _MIB - 1024, 256),
        disk_mib=_machine.disk(settings.host.state)[0] // _MIB,
    )


def disk_free(folder: Path) -> int:
    """Free bytes where that folder is."""
    return _machine.disk(folder)[1]


def host_facts(host: str, settings: Settings, services: Mapping[str, str] | None = None, **more: Any) -> HostFacts:
    """A heartbeat; ``services`` is what the role says of those it uses."""
    unsupervised = {} if _machine.is_supervised() else {"supervisor": "is gone"}
    (memory, memory_free), (disk, disk_free) = _machine.memory(), _machine.disk(settings.host.state)
    return HostFacts(
        host=host, at=clock.now(), uptime_s=round(clock.now() - _machine.booted_at(), 0), load=round(_machine.load(), 2),
        cpus=_machine.cpus(), memory_mib=memory // _MIB, memory_free_mib=memory_free // _MIB,
        disk_mib=disk // _MIB, disk_free_mib=disk_free // _MIB,
        process_mib=_machine.process() // _MIB, refused=refusals(), services={**(services or {}), **unsupervised}, **more,
    )


def hello(host: str, shape: RoleShape, settings: Settings, **more: Any) -> Hello:
    """What a role says when it connects."""
    s = settings.host
    return Hello(
        host=host, role=Role(s.role), name=s.name or os.uname().nodename, version=__version__, boot=boot_id(),
        address=s.door, capacity=capacity(settings), speaks=shape.speaks, **more,
    )
