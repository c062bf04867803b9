"""What the way through a forward costs: bytes, round trips and new connections from a user outside to a guest.

A is the host of ``tests.support.edge_bed``: a guest in a bridge with its tap guarded, 10,000 forwards in our tables, a user behind the
uplink. B is one cable between two network namespaces: no bridge, no route, no rules. C is that host as a router without any rules, which is
what of A the kernel takes for itself. The rounds alternate; what was sent is counted by who received it. At the end all connections
that lead through the forward are asked whether they live, all rules are flushed and made again, and they are asked once more.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from pyroute2 import netns

from bench import link, peers
from bench.forwards import forwards
from luhyaapi.contracts.vocabulary import Protocol
from luhyaapi.edge.nft import NftRules
from luhyaapi.edge.plan import Card, Forward, RulesPlan, Segment
from tests.support import edge_bed
from tests.support.edge_bed import HOST, IPS, MACS, OUT, PUBLIC, TAPS, A, Bed, alive

ROUNDS, SECONDS, TRIPS, NEW = 5, 2.0, 5_000, 500
OTHERS, KEPT = 10_000, 200
DOOR, PORT = 8080, 5001
PIECE = 256 * 1024

Way = tuple[Callable[[], contextlib.AbstractContextManager[None]], str, int]
"""Where its user stands, and the address and port that lead to the guest."""


def measure() -> dict[str, Any]:
    """MB/s, microseconds."""
    peers.needed("ip")
    runs: dict[str, list[float]] = {}
    with contextlib.ExitStack() as opened:
        ways = {"A, forward": opened.enter_context(_forwarded()), "B, cable": opened.enter_context(_cable()), "C, router": opened.enter_context(_routed())}
        for turn in range(ROUNDS + 1):
            for name, way in ways.items():
                found = {"MB/s": _bytes(way), "round trip, us": _trips(way), "new connection, us": _connects(way)}
                for what, value in found.items() if turn else ():
                    runs.setdefault(f"{name}: {what}", []).append(value)
    before, after = _flushed()
    runs["connections before a flush"], runs["connections after all rules were made again"] = [before], [after]
    return {"runs": runs}


def _plan() -> RulesPlan:
    web = Forward(protocol=Protocol.TCP, address=PUBLIC, port=DOOR, to=IPS[A], to_port=PORT)
    desk = Segment(name="desk", bridge="br0", subnets=(edge_bed.SUBNET, edge_bed.SUBNET6), gateway=True)
    card = Card(tap=TAPS[A], mac=MACS[A], addresses=(IPS[A], edge_bed.IP6S[A]), segment="desk")
    others = tuple(each.model_copy(update={"address": PUBLIC, "port": 20_000 + n}) for n, each in enumerate(forwards(0, OTHERS)))
    return RulesPlan(name="bench", uplinks=("wan0",), segments=(desk,), forwards=(web, *others), cards=(card,))


@contextlib.contextmanager
def _bed() -> Iterator[Bed]:
    bed = Bed()
    try:
        bed.up()
        yield bed
    finally:
        bed.down()


@contextlib.contextmanager
def _forwarded() -> Iterator[Way]:
    with _bed() as bed, bed.inside(HOST):
        driver = NftRules("bench")
        driver.apply(_plan())
        with _echo(lambda: bed.inside(A)):
            yield lambda: bed.inside(OUT), PUBLIC, DOOR
        driver.close()


@contextlib.contextmanager
def _routed() -> Iterator[Way]:
    with _bed() as bed:
        bed.sysctl(HOST, "ipv4/conf/all/forwarding", "1")
        with _echo(lambda: bed.inside(A)):
            yield lambda: bed.inside(OUT), IPS[A], PORT


@contextlib.contextmanager
def _cable() -> Iterator[Way]:
    with link.cable(0) as (there, here), _echo(lambda: _inside(there[-1])):
        yield lambda: _inside(here[-1]), link.SERVER, PORT


@contextlib.contextmanager
def _inside(name: str) -> Iterator[None]:
    netns.pushns(name)
    try:
        yield
    finally:
        netns.popns()


@contextlib.contextmanager
def _echo(inside: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    """A guest's program in a process of its own: what a connection says first is how it is answered."""
    with inside(), socket.create_server(("", PORT), backlog=512) as server:
        pid = os.fork()
        if not pid:
            try:
                while True:
                    _answer(server.accept()[0])
            finally:
                os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def _answer(one: socket.socket) -> None:
    with one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = one.recv(1)
        if asked == b"b":
            taken, room = 0, bytearray(4 * PIECE)
            while got := one.recv_into(room):
                taken += got
            one.sendall(struct.pack("!Q", taken))
        while asked == b"t" and (said := one.recv(1)):
            one.sendall(said)


def _bytes(way: Way) -> float:
    piece, begun = b"\0" * PIECE, time.monotonic()
    with _connected(way) as one:
        one.sendall(b"b")
        while time.monotonic() < begun + SECONDS:
            one.sendall(piece)
        one.shutdown(socket.SHUT_WR)
        (taken,) = struct.unpack("!Q", one.recv(8, socket.MSG_WAITALL))
    return float(taken / (time.monotonic() - begun) / 1e6)


def _trips(way: Way) -> float:
    took = []
    with _connected(way) as one:
        one.sendall(b"t")
        for _ in range(TRIPS):
            begun = time.perf_counter()
            one.sendall(b"x")
            one.recv(1)
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e6


def _connects(way: Way) -> float:
    inside, address, port = way
    took = []
    with inside():
        for _ in range(NEW):
            begun = time.perf_counter()
            with socket.create_connection((address, port), timeout=10):
                took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e6


def _connected(way: Way) -> socket.socket:
    inside, address, port = way
    with inside():
        one = socket.create_connection((address, port), timeout=10)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def _flushed() -> tuple[int, int]:
    """How many connections live before and after."""
    with _bed() as bed, bed.inside(HOST):
        driver = NftRules("bench")
        driver.apply(_plan())
        server = bed.listen(A, PORT)
        pairs = [bed.talk(OUT, PUBLIC, DOOR, server) for _ in range(KEPT)]
        before = sum(map(alive, pairs))
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        driver.apply(_plan())
        after = sum(map(alive, pairs))
        driver.close()
    return before, after
