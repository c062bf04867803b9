"""What any host knows of itself: processor, memory, disk, load; the heartbeat is made of it."""

from __future__ import annotations

import functools
import os
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

_MIB = 1024 * 1024


@functools.cache
def boot_id() -> str:
    """Changes with every boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def capacity(settings: Settings) -> Capacity:
    """What this host offers in all."""
    h = settings.hypervisor
    return Capacity(
        cpus=h.cpus or 4 * (os.cpu_count() or 1),
        memory_mib=h.memory_mib or max(psutil.virtual_memory().total // _MIB - 1024, 256),
        disk_mib=psutil.disk_usage(str(settings.host.state)).total // _MIB,
    )


def host_facts(host: str, settings: Settings, **more: Any) -> HostFacts:
    """A heartbeat."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(settings.host.state))
    return HostFacts(
        host=host, at=clock.now(), uptime_s=round(clock.now() - psutil.boot_time(), 0), load=round(os.getloadavg()[0], 2),
        cpus=os.cpu_count() or 1, memory_mib=memory.total // _MIB, memory_free_mib=memory.available // _MIB,
        disk_mib=disk.total // _MIB, disk_free_mib=disk.free // _MIB,
        process_mib=psutil.Process().memory_info().rss // _MIB, refused=refusals(), **more,
    )


def hello(host: str, shape: RoleShape, settings: Settings, **more: Any) -> Hello:
    """What a role says when it connects."""
    s = settings.host
    return Hello(
        host=host, role=Role(s.role), name=s.name or os.uname().nodename, version=__version__, boot=boot_id(),
        address=s.door, capacity=capacity(settings), speaks=shape.speaks, **more,
    )
