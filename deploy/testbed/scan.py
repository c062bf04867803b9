"""What a place of a bed reaches by TCP: every port of every address tried at once, from a host or from within a guest.

``python -m deploy.testbed.scan`` reads ``[[address, port], ...]`` from standard input and prints those where somebody answered.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import select
import socket
import sys
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from deploy.testbed.bed import Bed
from luhyaapi import clock
from luhyaapi.errors import Failed

WAIT_S = 4.0
_GUEST_S = 120.0
DOORS = (22, 53, 80, 81, 111, 443, 3389, 4369, 5671, 5672, 5900, *range(8600, 8616), 8700, 8701, 11211, 15672, 16509, *range(20000, 20004), 25672)
"""Ports a cloud has, or might leave open: services, its own doors, screens of guests, and the first that a cluster lends."""
Door = tuple[str, int]


def answered(doors: Iterable[Door], wait_s: float = WAIT_S) -> list[Door]:
    """The doors that a TCP connection from here was taken at."""
    with contextlib.ExitStack() as opened:
        trying: dict[int, tuple[socket.socket, Door]] = {}
        for door in doors:
            sock = opened.enter_context(socket.socket())
            sock.setblocking(False)
            if sock.connect_ex(door) in (0, errno.EINPROGRESS):
                trying[sock.fileno()] = (sock, door)
        ready, found, until = select.poll(), [], clock.monotonic() + wait_s
        for number in trying:
            ready.register(number, select.POLLOUT)
        while trying and (left := until - clock.monotonic()) > 0:
            for number, _ in ready.poll(left * 1000):
                ready.unregister(number)
                sock, door = trying.pop(number)
                if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    found.append(door)
        return sorted(found)


def from_host(bed: Bed, host: str, where: Mapping[str, str], ports: Collection[int] = DOORS) -> set[str]:
    """What a host of the bed reaches of ``where`` (name to address), as ``name:port``."""
    asked = [(address, port) for address in where.values() for port in ports]
    said = bed.run(host, [sys.executable, "-m", "deploy.testbed.scan"], stdin=json.dumps(asked).encode()).text
    return _named(where, (tuple(each) for each in json.loads(said)))


def from_hosts(bed: Bed, where: Mapping[str, str], ports: Collection[int] = DOORS) -> dict[str, set[str]]:
    """The same from every host of the bed, by host."""
    with ThreadPoolExecutor(8) as beside:
        return dict(zip(bed.description.hosts, beside.map(lambda host: from_host(bed, host, where, ports), bed.description.hosts), strict=True))


def from_guest(bed: Bed, instance: str, where: Mapping[str, str], ports: Collection[int] = DOORS) -> set[str]:
    """The same from within a ``tiny`` guest: typed at its serial console, read from its log. Raises Failed(timeout)."""
    mark = f"scan{clock.monotonic():.3f}".replace(".", "")
    # In a shell of its own, which says nothing of the jobs that end.
    each = "(nc -w 8 $a $p -e true && echo $m $a $p) 2>/dev/null &"
    typed = f"(m={mark}; for a in {' '.join(where.values())}; do for p in {' '.join(map(str, ports))}; do {each} done; done; wait; echo $m over)\n"
    bed.run(bed.front.name, [bed.program, "instance", "console", instance], stdin=typed.encode(), timeout_s=_GUEST_S)
    until = clock.monotonic() + _GUEST_S
    while clock.monotonic() < until:
        said = bed.educloud("instance", "log", instance).text
        if f"{mark} over" in said:
            found = re.findall(rf"^{mark} ([0-9.]+) ([0-9]+)\s*$", said, re.MULTILINE)
            return _named(where, ((address, int(port)) for address, port in found))
        clock.sleep(0.5)
    raise Failed("timeout", f"{instance} did not scan to the end", said[-500:])


def _named(where: Mapping[str, str], doors: Iterable[Door]) -> set[str]:
    names = {address: name for name, address in where.items()}
    return {f"{names[address]}:{port}" for address, port in doors}


if __name__ == "__main__":
    print(json.dumps(answered([(address, port) for address, port in json.load(sys.stdin)])))
