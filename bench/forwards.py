"""One forward more and one less beside 100 to 40,000 others, a thousand at once, and all of them again after a flush (goal G19).

A is ``NftRules``: checked, one transaction of one element, and what is in force remembered. B is what one would write by hand:
``iptables -A`` and ``-D`` of the same DNAT rule, and the same by ``iptables-restore --noflush``, as programs. Each has a network
namespace of its own; the rounds alternate; what A left is verified by reading it back, what B left by counting. ``apply`` is A by a whole
plan that differs by one forward, which compares all of them.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from pyroute2 import netns

from bench import peers
from luhyaapi.contracts.vocabulary import Protocol
from luhyaapi.edge.nft import NftRules
from luhyaapi.edge.plan import (
    Forward,
    RulesPlan,
)

SIZES = (100, 1_000, 10_000, 40_000)
ROUNDS, REPEATS, SYNCED, AT_ONCE = 7, 20, 10_000, 1_000
HOST = "192.0.2.1"


def measure() -> dict[str, Any]:
    """Milliseconds."""
    peers.needed("iptables", "iptables-restore", "ip")
    runs: dict[str, list[float]] = {}
    for size in SIZES:
        with namespace() as ours, namespace() as theirs:
            _measure_size(size, ours, theirs, runs)
    with namespace() as ours, namespace() as theirs:
        _measure_flush(ours, theirs, runs)
    for name, add, remove in (("A 10,000: add and remove", "A 10,000: add", "A 10,000: remove"),
                              ("B 10,000: iptables -A and -D", "B 10,000: iptables -A", "B 10,000: iptables -D")):
        runs[f"{name}, ms"] = [a + b for a, b in zip(runs[f"{add}, ms"], runs[f"{remove}, ms"], strict=True)]
    flat = [statistics.median(runs[f"A {size:,}: add, ms"]) + statistics.median(runs[f"A {size:,}: remove, ms"]) for size in SIZES if size >= 1_000]
    runs["A 1,000 to 40,000: slowest by quickest"] = [max(flat) / min(flat)]
    return {"runs": runs}


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    """A network namespace's name."""
    name = f"edubench-{os.getpid()}-{time.monotonic_ns() % 10**9}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def forwards(first: int, count: int) -> tuple[Forward, ...]:
    """Different ones."""
    return tuple(
        Forward(protocol=Protocol.TCP, address=f"192.0.2.{1 + n // 60_000}", port=1 + n % 60_000, to=f"10.77.{n // 250 % 250}.{n % 250 + 1}", to_port=3389)
        for n in range(first, first + count)
    )


def rule(forward: Forward) -> str:
    """The same one for iptables."""
    return (f"PREROUTING -d {forward.address} -p tcp -m tcp --dport {forward.port} "
            f"-j DNAT --to-destination {forward.to}:{forward.to_port}")


def _measure_size(size: int, ours: str, theirs: str, runs: dict[str, list[float]]) -> None:
    there = forwards(0, size)
    plan = RulesPlan(name="bench", forwards=there)
    spare = forwards(50_000, AT_ONCE)
    with _inside(ours):
        driver = NftRules("bench")
        driver.apply(plan)
    _restore(theirs, "".join(f"-A {rule(each)}\n" for each in there))
    for turn in range(ROUNDS + 1):
        one = spare[turn]
        times = {
            "A add": _ms(lambda: [driver.exchange((), (each,)) for each in spare[:REPEATS]]) / REPEATS,
            "A remove": _ms(lambda: [driver.exchange((each,), ()) for each in spare[:REPEATS]]) / REPEATS,
            "B iptables -A": _ms(lambda one=one: _run(theirs, "iptables", "-t", "nat", "-A", *rule(one).split())),
            "B iptables -D": _ms(lambda one=one: _run(theirs, "iptables", "-t", "nat", "-D", *rule(one).split())),
            "B restore -A": _ms(lambda one=one: _restore(theirs, f"-A {rule(one)}\n")),
            "B restore -D": _ms(lambda one=one: _restore(theirs, f"-D {rule(one)}\n")),
            "A 1,000 at once": _ms(lambda: driver.exchange((), spare)),
        }
        driver.exchange(spare, ())
        more = plan.model_copy(update={"forwards": (*there, one)})
        times["A apply one more"] = _ms(lambda more=more: driver.apply(more))
        driver.apply(plan)
        for what, took in times.items() if turn else ():
            runs.setdefault(f"{what[0]} {size:,}: {what[2:]}, ms", []).append(took)
    _run(ours, "nft", "add table ip stranger; delete table ip stranger")
    with _inside(ours):
        assert driver.found() == plan
    assert _run(theirs, "iptables-save", "-t", "nat").count(" -j DNAT ") == size
    driver.close()


def _measure_flush(ours: str, theirs: str, runs: dict[str, list[float]]) -> None:
    there = forwards(0, SYNCED)
    plan = RulesPlan(name="bench", forwards=there)
    text = "".join(f"-A {rule(each)}\n" for each in there)
    with _inside(ours):
        driver = NftRules("bench")
        driver.apply(plan)
        for turn in range(ROUNDS + 1):
            _run(ours, "nft", "flush ruleset")
            _run(theirs, "iptables", "-t", "nat", "-F")
            times = {"A": _ms(lambda: driver.apply(plan)), "B": _ms(lambda: _restore(theirs, text))}
            assert driver.found() == plan
            for what, took in times.items() if turn else ():
                runs.setdefault(f"{what} {SYNCED:,}: again after a flush, ms", []).append(took)
        driver.close()


@contextlib.contextmanager
def _inside(name: str) -> Iterator[None]:
    netns.pushns(name)
    try:
        yield
    finally:
        netns.popns()


def _ms(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def _run(where: str, *words: str, text: str = "") -> str:
    done = subprocess.run(["ip", "netns", "exec", where, *words], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)[:200]}: {done.stderr}"
    return done.stdout


def _restore(where: str, rules: str) -> None:
    _run(where, "iptables-restore", "--noflush", text=f"*nat\n{rules}COMMIT\n")
