"""Many seeds, in one process or several: each job takes every n-th seed, tells batch by batch, and somebody adds up."""

from __future__ import annotations

import gc
import json
import math
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulator import cloud, story
from tests.simulator.history import Record
from tests.soak import spans

BATCH = 20
"""Seeds between two tellings, and between two collections of what is in circles; at every allocation it costs a tenth."""
ENDLESS = 1 << 40
ROOT = Path(__file__).resolve().parents[2]
Batch = dict[str, Any]
"""``first`` and ``end`` of its seeds, every ``step``-th; ``failed`` ones with why; ``simulated_s``, ``cpu_s``, ``faults``, ``actions``;
``came``: in which seeds each fault and action came, and who died where."""


@dataclass(frozen=True)
class Range:
    """Seeds from ``first`` to before ``end``, every ``step``-th; at most for ``seconds`` when that is not 0."""

    first: int
    end: int
    step: int = 1
    seconds: float = 0.0
    bug: str = ""
    like: str = ""

    @property
    def words(self) -> list[str]:
        """As the command line of a job."""
        more = [w for name, value in (("--bug", self.bug), ("--like", self.like)) if value for w in (name, value)]
        return ["--seeds", f"{self.first}:{self.end}", "--step", str(self.step), "--minutes", str(self.seconds / 60), *more]


@dataclass
class Sum:
    """What came of all of them."""

    ran: list[int] = field(default_factory=list)
    failed: dict[int, list[str]] = field(default_factory=dict)
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    came: dict[str, list[int]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """One more batch."""
        self.ran += range(batch["first"], batch["end"], batch["step"])
        self.failed |= {int(seed): why for seed, why in batch["failed"].items()}
        self.simulated_s += batch["simulated_s"]
        self.cpu_s += batch["cpu_s"]
        self.faults.update(batch["faults"])
        self.actions.update(batch["actions"])
        for what, seeds in batch["came"].items():
            self.came.setdefault(what, []).extend(seeds)

    def form(self, seconds: float) -> dict[str, Any]:
        """As the last line of a run."""
        rate, of_core = (len(self.ran) / s if s else 0.0 for s in (seconds, self.cpu_s))
        worst = sorted(self.failed)
        return {
            "seeds": len(self.ran), "spans": spans.write(spans.of(self.ran)), "failed": [str(s) for s in worst], "seconds": round(seconds, 2),
            "cpu_seconds": round(self.cpu_s, 2), "seeds_per_second": round(rate, 2), "seeds_per_cpu_second": round(of_core, 2),
            "simulated_hours": round(self.simulated_s / 3600, 2), "actions": dict(sorted(self.actions.items())),
            "faults": dict(sorted(self.faults.items())), "first": {str(s): self.failed[s][:3] for s in worst[:5]},
            "came": {what: spans.write(spans.of(seeds)) for what, seeds in sorted(self.came.items())},
        }


def here(asked: Range) -> Iterator[Batch]:
    """Run them in this process. Call it inside :func:`cloud.own_memories`."""
    cloud.template()
    gc.collect()
    gc.freeze()
    gc.disable()
    until = time.perf_counter() + (asked.seconds or math.inf)
    seed = asked.first
    while seed < asked.end and time.perf_counter() < until:
        batch = _empty(seed, asked.step)
        cpu = time.process_time()
        while len(range(batch["first"], batch["end"], asked.step)) < BATCH and seed < asked.end:
            _one(seed, asked, batch)
            seed += asked.step
            if time.perf_counter() >= until:
                break
        gc.collect()
        batch["cpu_s"] = time.process_time() - cpu
        yield batch


def _empty(seed: int, step: int) -> Batch:
    return {"first": seed, "end": seed, "step": step, "failed": {}, "simulated_s": 0.0, "cpu_s": 0.0, "faults": Counter(), "actions": Counter(),
            "came": {}}


def _one(seed: int, asked: Range, batch: Batch) -> None:
    result = story.run(story.planned(str(seed), asked.like or asked.bug), asked.bug)
    batch["end"] = seed + asked.step
    batch["simulated_s"] += result.simulated_s
    batch["faults"] += result.faults
    batch["actions"] += result.actions
    for what in {*result.faults, *result.actions, *_seen(result.records)}:
        batch["came"].setdefault(what, []).append(seed)
    if result.violations:
        batch["failed"][str(seed)] = result.violations


def _seen(records: list[Record]) -> set[str]:
    """Which roles died, and at which named points (the web process dies in a request and nowhere else); what no fault alone brings about."""
    found, ran = set(), set()
    for r in records:
        if r["what"] == "died" or (r["what"] == "dies" and r["who"] == "web"):
            found.add(f"{r['who'].rstrip('0123456789')} died")
        if r["what"] == "dies":
            found.add(f"died at {r['at']}")
        elif r["what"] == "got" and r.get("late"):
            found.add("an order after its time")
        elif r["what"] == "effect" and r["effect"] == "running":
            ran.add(r["instance"])
        elif r["what"] == "asked" and r["verb"] == "delete" and r["answer"].get("accepted") and r["instance"] not in ran:
            found.add("deleted before it ran")
    return found


@contextmanager
def in_jobs(asked: Range, jobs: int) -> Iterator[Iterator[Batch]]:
    """Run them in processes of their own, which end with this. Raises RuntimeError when one falls over."""
    parts = [Range(asked.first + n, asked.end, jobs, asked.seconds, asked.bug, asked.like) for n in range(jobs)]
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.simulator", *part.words, "--batches"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for part in parts
    ]
    try:
        yield _told(running)
    finally:
        for job in running:
            job.terminate()
            job.wait()


def _told(running: list[subprocess.Popen[str]]) -> Iterator[Batch]:
    lines: queue.Queue[str | None] = queue.Queue()

    def listen(job: subprocess.Popen[str]) -> None:
        for line in job.stdout or ():
            lines.put(line)
        lines.put(None)

    for job in running:
        threading.Thread(target=listen, args=(job,), daemon=True).start()
    left = len(running)
    while left:
        line = lines.get()
        if line is None:
            left -= 1
        else:
            yield json.loads(line)
    if any(job.wait() != 0 for job in running):
        raise RuntimeError("a job of the simulator fell over")
