"""The command line of the simulator: which seeds, how long, in how many processes; its last line is JSON."""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from luhyaapi import log
from tests.simulator import bugs, cloud, story

COLLECT_EVERY = 20
"""Seeds between two collections of what is in circles; at every allocation it costs a tenth."""
ROOT = Path(__file__).resolve().parents[2]


def main(words: list[str]) -> int:
    """Exit code 0 when no seed failed, 1 when one did, 2 for a wrong use."""
    args = _arguments(words)
    log.setup("CRITICAL" if not args.log else "INFO")
    if args.jobs > 1:
        return _in_jobs(args)
    with cloud.own_memories():
        if args.story:
            return _story(args)
        return _seeds(args)


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator")
    parser.add_argument("--seeds", default="0:100", help="A:B, from A to before B")
    parser.add_argument("--minutes", type=float, default=0, help="so long instead, from the first of --seeds on")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--bug", default="", choices=["", *bugs.BUGS], help="plant one of the deliberate bugs")
    parser.add_argument("--like", default="", choices=["", *bugs.BUGS], help="the seeds of a bug, without the bug")
    parser.add_argument("--story", default="", help="run one seed and tell what happened")
    parser.add_argument("--shrink", action="store_true", help="drop faults and actions from a failing seed while it fails")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the tenth failing seed")
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--log", action="store_true", help="the log of the roles too")
    return parser.parse_args(words)


def _story(args: argparse.Namespace) -> int:
    planned = story.planned(args.story, args.like or args.bug)
    result = story.shrink(planned, args.bug) if args.shrink else story.run(planned, args.bug)
    print(story.tell(result, args.bug))
    print(json.dumps({"seed": args.story, "digest": result.digest, "violations": result.violations}))
    return 1 if result.violations else 0


def _seeds(args: argparse.Namespace) -> int:
    first, _, end = args.seeds.partition(":")
    seed, stop = int(first), int(end or int(first) + 1)
    cloud.template()
    gc.collect()
    gc.freeze()
    gc.disable()
    began, cpu = time.perf_counter(), time.process_time()
    faults: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    failed: dict[str, list[str]] = {}
    ran, simulated_s = 0, 0.0
    while (time.perf_counter() - began < args.minutes * 60) if args.minutes else seed < stop:
        result = story.run(story.planned(str(seed), args.like or args.bug), args.bug)
        ran += 1
        if ran % COLLECT_EVERY == 0:
            gc.collect()
        simulated_s += result.simulated_s
        faults += result.faults
        actions += result.actions
        if result.violations:
            failed[str(seed)] = result.violations
            print(f"seed {seed} fails: {'; '.join(result.violations[:3])}", flush=True)
            if len(failed) >= (1 if args.bug else 10) and not args.keep_going:
                break
        seed += args.step
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({
        "seeds": ran, "failed": sorted(failed, key=int), "seconds": round(wall, 2), "cpu_seconds": round(cpu, 2),
        "seeds_per_cpu_second": round(ran / cpu, 2) if cpu else 0, "simulated_hours": round(simulated_s / 3600, 2),
        "actions": dict(sorted(actions.items())), "faults": dict(sorted(faults.items())),
        "first": {s: failed[s][:3] for s in sorted(failed, key=int)[:5]}, "bug": args.bug,
    }))
    return 1 if failed else 0


def _in_jobs(args: argparse.Namespace) -> int:
    """Each job takes every n-th seed."""
    first, _, end = args.seeds.partition(":")
    more = ["--bug", args.bug] if args.bug else []
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.simulator", "--seeds", f"{int(first) + n}:{end}", "--step", str(args.jobs),
             "--minutes", str(args.minutes), *more, *(["--keep-going"] if args.keep_going else [])],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for n in range(args.jobs)
    ]
    total: dict[str, object] = {}
    sums: dict[str, Counter[str]] = {"actions": Counter(), "faults": Counter()}
    numbers: Counter[str] = Counter()
    failed: list[str] = []
    slowest = 0.0
    for job in jobs:
        *lines, last = (job.communicate()[0] or "{}").strip().splitlines()
        print("\n".join(lines)) if lines else None
        told = json.loads(last)
        failed += told["failed"]
        slowest = max(slowest, told["seconds"])
        for name in ("seeds", "cpu_seconds", "simulated_hours"):
            numbers[name] += told[name]
        for name, counted in sums.items():
            counted.update(told[name])
    total = {
        "seeds": numbers["seeds"], "failed": sorted(failed, key=int), "seconds": slowest, "cpu_seconds": round(numbers["cpu_seconds"], 2),
        "seeds_per_second": round(numbers["seeds"] / slowest, 2) if slowest else 0, "simulated_hours": round(numbers["simulated_hours"], 2),
        **{name: dict(sorted(counted.items())) for name, counted in sums.items()}, "bug": args.bug,
    }
    print(json.dumps(total))
    return 1 if failed else 0
