"""How large an instance may be: what is possible at all, and on some node."""

from __future__ import annotations

from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Host

MIB = 1024 * 1024
MAX_CPUS, MIN_MEMORY_MIB, MAX_MEMORY_MIB, MAX_COUNT = 64, 64, 1024 * 1024, 100
MIN_DATA_DISK_MIB, MAX_DATA_DISK_MIB = 16, 16 * 1024 * 1024


def number(field: str, value: object, low: int, high: int, unit: str = "") -> int:
    """A whole number within its bounds. Raises Refused(invalid)."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused("invalid", f"{field} is not possible", f"give {low} to {high}{unit}; you gave {str(value)[:40]}", field=field)
    return value


def memory_mib(asked: object) -> int:
    """Bytes that somebody asked for, in MiB. Raises Refused(invalid)."""
    if not isinstance(asked, int) or isinstance(asked, bool) or not MIN_MEMORY_MIB * MIB <= asked <= MAX_MEMORY_MIB * MIB:
        raise Refused("invalid", "That much memory is not possible", "give 64M to 1T", field="memory_bytes")
    return asked // MIB


def data_disk_mib(asked: object) -> int:
    """Bytes of a data disk that somebody asked for, in MiB; None: 0, no such disk. Raises Refused(invalid)."""
    if asked is None:
        return 0
    if not isinstance(asked, int) or isinstance(asked, bool) or not MIN_DATA_DISK_MIB * MIB <= asked <= MAX_DATA_DISK_MIB * MIB:
        raise Refused("invalid", "A data disk of that size is not possible", "give 16M to 16T", field="data_disk_bytes")
    return asked // MIB


def check_possible(cpus: int, memory_mib: int, disk_mib: int = 0) -> None:
    """Whether some node, empty, could take it. Raises Unavailable(no_capacity) without nodes, Refused(invalid) when none is so big."""
    there = Host.objects.exclude(state__in=[HostState.RETIRED, HostState.NEW])
    if not there.filter(role=Role.CC).exists():
        raise Unavailable("no_capacity", "There is no cluster yet", "no CC has joined")
    nodes = list(there.filter(role=Role.NC).values_list("cpus", "memory_mib", "disk_mib"))
    if not nodes:
        raise Unavailable("no_capacity", "There is no node yet", "no NC has joined")
    # what a node that has not said hello has, nobody knows
    if not any(c == 0 or d >= disk_mib for c, _, d in nodes):
        raise Refused("invalid", "No node has a disk that big", f"the largest is {max(d for _, _, d in nodes)} MiB", field="data_disk_bytes",
                      hint="Ask for less, or add a bigger node.")
    if not any(c == 0 or (c >= cpus and m >= memory_mib) for c, m, _ in nodes):
        most_cpus, most_mib = max(c for c, _, _ in nodes), max(m for _, m, _ in nodes)
        field = "memory_bytes" if memory_mib > most_mib else "cpus"
        raise Refused("invalid", "No node is that big", f"the most that one offers is {most_cpus} CPUs, and {most_mib} MiB of memory", field=field,
                      hint="Ask for less, or add a bigger node.")
