"""Kills, cuts, stops and real guests on a bed of five hosts: two minutes later nothing is stuck, lost, or there twice."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.testbed import description, kills
from deploy.testbed.bed import ROOT, Bed
from luhyaapi import log
from luhyaapi.errors import Trouble
from tests.soak import bed_deaths
from tests.soak.bed_case import Case
from tests.soak.tally import Budget, Tally
from tests.support.bed_sight import five_hosts, guests, soon

KINDS = ("deaths", "kills", "cuts", "faults", "guests")
_BEFORE = 3
"""Orders that are done before a broker goes, so that there is something to stop and start meanwhile."""
_CACHE = Path("/var/lib/educloud/nc/cache")
CUTS = {
    "node both ways": ("node1", "cluster", True, True), "node is not heard": ("node1", "cluster", True, False),
    "node hears nothing": ("node1", "cluster", False, True), "head from front": ("head", "campus", True, True),
    "store": ("store", "cluster", True, True),
}
"""By shape: host, network, whether what it sends is lost, whether what it should hear is."""


def one_kill(case: Case) -> str:
    """A program of a host dies, or stands still for a while, while something is being done."""
    chance, bed = case.chance, case.bed
    host = chance.choice(sorted(name for name, host in bed.description.hosts.items() if host.roles))
    program = chance.choice(sorted(p for p in bed.programs(host) if p != "supervisor" and not p.startswith("guest ")))
    case.patiently(case.ask)
    time.sleep(chance.uniform(0, 2.0))
    if chance.random() < 0.15:
        with kills.frozen(bed, host, program):
            time.sleep(chance.uniform(20, 40))
        return f"{host} {program} frozen"
    with contextlib.suppress(Trouble):
        kills.kill(bed, host, program)
    return f"{host} {program} killed"


def one_cut(case: Case) -> str:
    """A link is cut for a while, things are asked for before and meanwhile."""
    chance, bed = case.chance, case.bed
    shape = chance.choice(sorted(CUTS))
    host, network, sends, hears = CUTS[shape]
    case.patiently(case.ask)
    time.sleep(chance.uniform(0, 1.5))
    bed.switch.cut(bed.description.hosts[host], network, sends=sends, hears=hears)
    try:
        until = time.monotonic() + chance.uniform(5, 60 if chance.random() < 0.3 else 20)
        with contextlib.suppress(Trouble, ValueError):
            case.ask()
        while time.monotonic() < until:
            assert all(len(nodes) == 1 for nodes in guests(bed).values()), f"runs twice: {guests(bed)}"
            time.sleep(1)
    finally:
        bed.switch.heal()
    return shape


def one_guest(case: Case) -> str:
    """A real guest is killed behind our back and comes back; now and then one is only used."""
    bed = case.bed
    made = bed.answer("instance", "run", "--image", "tiny", timeout_s=180)
    assert isinstance(made, dict)
    node, point = made["host_name"], case.chance.choice(("killed behind our back", "rebooted", "stopped and started"))
    if point == "killed behind our back":
        kills.kill(bed, node, f"guest {made['id']}")
        assert soon(lambda: made["id"] in guests(bed), 60), "it did not come back"
    elif point == "rebooted":
        bed.educloud("instance", "reboot", made["id"], timeout_s=180)
    else:
        bed.educloud("instance", "stop", made["id"], timeout_s=180)
        bed.educloud("instance", "start", made["id"], timeout_s=180)
    case.rest()
    bed.educloud("instance", "delete", made["id"], "--yes", timeout_s=180)
    return point


def broker_away(case: Case, seconds: float) -> str:
    """The brokers are stopped, each in its turn and then both; what was accepted before and meanwhile is done, once, when they are there again."""
    for away in (("front",), ("head",), ("front", "head")):
        for _ in range(_BEFORE):
            case.patiently(case.ask)
        case.rest()
        case.taken.clear()
        case.patiently(case.ask)
        with contextlib.ExitStack() as stopped:
            for host in away:
                stopped.enter_context(kills.stopped(case.bed, host, "broker"))
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                with contextlib.suppress(Trouble, ValueError):
                    case.ask(delete=False)
                time.sleep(case.chance.uniform(2, 10))
        case.rest()
        print(f"{' and '.join(away)}: {case.once()}", file=sys.stderr, flush=True)
    return f"broker away for {seconds:.0f} s"


def hypervisor_frozen(case: Case, seconds: float) -> str:
    """The hypervisor's service of a node stands still."""
    case.patiently(case.ask)
    with kills.frozen(case.bed, case.chance.choice(("node1", "node2")), "libvirtd"):
        time.sleep(seconds)
    return f"hypervisor frozen for {seconds:.0f} s"


def board_killed(case: Case, _seconds: float) -> str:
    """The board is gone with all that was on it."""
    case.patiently(case.ask)
    kills.kill(case.bed, "front", "board")
    return "board killed"


def disk_full(case: Case, _seconds: float) -> str:
    """A node's image cache has no room: a run there ends failed with that reason, and a later one works."""
    bed = case.bed
    other = next(h for h in case._hosts() if h["name"] == "node2")
    bed.educloud("host", "drain", other["id"])
    try:
        with kills.full(bed, "node1", _CACHE):
            done = bed.educloud("instance", "run", "--image", "tiny", "--json", timeout_s=300, check=False)
            assert done.code, "it ran without room"
            assert b"disk_full" in done.stdout + done.stderr, (done.stdout + done.stderr)[-800:]
        made = bed.answer("instance", "run", "--image", "tiny", timeout_s=180)
        assert isinstance(made, dict)
        assert made["host_name"] == "node1"
        bed.educloud("instance", "delete", made["id"], "--yes")
    finally:
        bed.educloud("host", "resume", other["id"])
    return "disk of a node full"


def without_power(case: Case, _seconds: float) -> str:
    """A node loses its power with its guests, which run again when it is back; the other node's do not notice."""
    bed, node = case.bed, case.chance.choice(("node1", "node2"))
    case.patiently(case.ask)
    bed.power_off(node)
    time.sleep(case.chance.uniform(1, 30))
    bed.power_on(node)
    bed.make(node, "up")
    for name in [one for one, (_, at) in case.standing().items() if at == node]:
        case.forget(name)
    case.rest()
    case.note_standing()
    return "node without power"


FAULTS: tuple[tuple[Callable[[Case, float], str], float], ...] = (
    (disk_full, 0), (broker_away, 30), (without_power, 0), (hypervisor_frozen, 60), (board_killed, 0),
)


def run(bed: Bed, budget: Budget, kinds: list[str], again: str, broker_s: float = 30, only: str = "") -> list[Tally]:
    """The kinds in turn until the time is over; a bed that does not come to rest ends the run."""
    tallies = {kind: Tally(kind) for kind in kinds}
    case = Case(bed, random.Random(budget.seed))
    case.stand()
    budget.began = time.monotonic()
    number, slowest = 0, 0.0
    faults = [each for each in FAULTS if only in ("", each[0].__name__)]
    while budget.left() > 0:
        kind = kinds[number % len(kinds)]
        number, point = number + 1, f"{kind} itself"
        try:
            if kind == "deaths":
                host, process, moment = case.next_death()
                point = bed_deaths.point(host, process, moment)
                bed_deaths.one_death(bed, host, process, moment)
            elif kind == "faults":
                fault, seconds = faults[(number - 1) // len(kinds) % len(faults)]
                point = fault(case, broker_s if fault is broker_away else seconds)
            else:
                point = {"kills": one_kill, "cuts": one_cut, "guests": one_guest}[kind](case)
            took = case.rest()
        except (AssertionError, Trouble, ValueError) as error:
            tallies[kind].count(point)
            tallies[kind].fail(point, f"after {number} trials: {error}", again)
            break
        tallies[kind].count(point)
        slowest = max(slowest, took)
        print(f"{number} {kind} {point}: at rest after {took:.1f} s", file=sys.stderr, flush=True)
    else:
        case.leave()
    next(iter(tallies.values())).figures["slowest_rest_s"] = slowest
    return list(tallies.values())


@contextlib.contextmanager
def _bed(folder: Path | None, tag: str) -> Iterator[Bed]:
    if folder:
        yield Bed(folder, description.read(ROOT / "deploy/testbed/five.toml"), tag)
        return
    with five_hosts(tag) as made:
        yield made


def main(argv: list[str] | None = None) -> int:
    """The program; the last line is a list of tallies."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.bed_runs")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--broker-seconds", type=float, default=30, help="how long a broker is stopped")
    parser.add_argument("--fault", default="", choices=["", *(each.__name__ for each, _ in FAULTS)], help="of the kind faults only this one")
    parser.add_argument("--bed", type=Path, default=None, help="the folder of a bed that is up; by default one is made")
    parser.add_argument("--tag", default="soak")
    given = parser.parse_args(argv)
    log.setup("ERROR")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    kinds = given.kind or list(KINDS)
    again = f"python -m tests.soak.bed_runs --seed {seed} --seconds {given.seconds:.0f} {' '.join(f'--kind {k}' for k in kinds)}"
    with _bed(given.bed, given.tag) as bed:
        tallies = run(bed, Budget(given.seconds, seed), kinds, again, given.broker_seconds, given.fault)
    print(json.dumps([t.form() for t in tallies]), flush=True)
    return 1 if any(t.failures for t in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
