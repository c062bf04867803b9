"""One seed run and judged; a failing one told so that somebody can follow it, and made as small as it goes."""

from __future__ import annotations

import shlex
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.simulator import bugs, checker, cloud, image_bugs, image_deaths, plan
from tests.simulator.clockwork import SimClock
from tests.simulator.history import Record
from tests.simulator.plan import Item, Plan
from tests.simulator.simulation import Simulation


@dataclass
class Result:
    """How one seed ended."""

    plan: Plan
    violations: list[str]
    records: list[Record]
    digest: str
    simulated_s: float
    faults: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)


_ = image_bugs  # it adds its own to all bugs
PLAIN_EVERY = 100
"""Of so many seeds one runs with nothing made quicker."""


def run(planned: Plan, bug: str = "", *, quick: bool | None = None) -> Result:
    """One seed, from the template to the judge. Call it inside :func:`cloud.own_memories`. ``quick``: see :func:`cloud.fresh`."""
    if quick is None:
        quick = not (planned.seed.isdecimal() and int(planned.seed) % PLAIN_EVERY == PLAIN_EVERY - 1)
    now = SimClock()
    with ExitStack() as stack:
        p, disks = stack.enter_context(cloud.fresh(planned.seed, now, quick=quick))
        if bug:
            stack.enter_context(bugs.planted(bug))
        sim = Simulation(planned, p, disks, now)
        history = sim.run()
    return Result(planned, checker.check(history.records), history.records, history.digest(), now.world - now.start,
                    sim.faults.counts, sim.clients.counts)


def shrink(planned: Plan, bug: str = "", tries: int = 60) -> Result:
    """Faults and actions dropped one by one, while it still fails."""
    best = run(planned, bug)
    items: list[Item] = sorted(planned.items, key=lambda i: i.by != "fault")
    for item in items:
        if tries <= 0:
            break
        tries -= 1
        smaller = run(best.plan.without([item]), bug)
        if smaller.violations:
            best = smaller
    return best


def tell(result: Result, bug: str = "") -> str:
    """Who did what, when in simulated time, and how to see it again."""
    lines = [f"seed {result.plan.seed} breaks what was promised:"]
    lines += [f"  * {v}" for v in result.violations]
    lines.append("planned:")
    lines += [f"  {i.at:7.2f} s  {i.by} {i.name} for {i.lasts_s:g} s {i.dice}" for i in result.plan.items]
    lines.append("what happened:")
    lines += [f"  {_line(r)}" for r in result.records if r["what"] != "rest"]
    more = f" --bug {bug}" if bug else ""
    lines.append(f"again: .venv/bin/python -m tests.simulator --story {shlex.quote(result.plan.seed)}{more}")
    return "\n".join(lines)


def _line(r: Record) -> str:
    rest: dict[str, Any] = {k: v for k, v in r.items() if k not in ("n", "t", "who", "what")}
    words = " ".join(f"{k}={v}" for k, v in rest.items())
    return f"{r['n']:5d} {r['t']:8.2f} s  {r['who']:9s} {r['what']} {words}"[:400]


def planned(seed: str, bug: str = "") -> Plan:
    """The plan of a seed; to look for a bug it has the faults that bring it to light."""
    if image_deaths.is_one(seed):
        return image_deaths.make(seed)
    if not bug:
        return plan.make(seed)
    wanted = bugs.BUGS[bug]
    return plan.make(seed, kinds=wanted.kinds, only=wanted.actions, longer=wanted.longer)
