"""The soak: minutes shared out between the kinds, each a program of its own; a table, the ledger, a last line of JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.soak import ledger
from tests.soak.tally import Failure, Tally

ROOT = Path(__file__).resolve().parents[2]
_GRACE_S = 900.0
SHARES = {"walks": 1.5, "seeds": 3.0, "allocations": 1.5, "starts": 0.5, "crashes": 2.0, "images": 1.5, "attacks": 1.0, "rights": 1.5, "bugs": 1.5,
          "bed": 4.0}
"""How the minutes are shared out. ``bed`` is kills, cuts, freezes and real guests, on one bed."""
OF_BED = ("deaths", "kills", "cuts", "faults", "guests")
ONLY = ("seeds", "deaths", "kills", "cuts", "starts", "allocations", "guests", "crashes", "faults", "walks", "images", "attacks", "rights", "bugs",
        "replays")
"""``replays``: the seeds that failed once, with the program as it is now."""


def main(argv: list[str]) -> int:
    """Exit code 0 when nothing failed, 1 when something did, 2 for a wrong use."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Run the cloud to death, and count.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", choices=ONLY, action="append", help="this kind; may be given again")
    parser.add_argument("--jobs", type=int, default=2, help="processes of the simulator")
    parser.add_argument("--no-ledger", action="store_true", help="do not add to docs/ledger.json")
    given = parser.parse_args(argv)
    tallies: list[Tally] = []
    for words in plan(given.only, given.minutes * 60, given.jobs):
        for tally in _read(words):
            tallies.append(tally)
            if not given.no_ledger:
                ledger.add(tally)
    table(tallies, print)
    failures = [vars(f) | {"kind": t.kind} for t in tallies for f in t.failures]
    runs = Counter[str]()
    for tally in tallies:
        runs[tally.kind] += tally.runs.total()
    print(json.dumps({"runs": dict(runs), "failures": failures}))
    return 1 if failures else 0


def plan(only: list[str] | None, seconds: float, jobs: int = 2) -> list[list[str]]:
    """The programs to run, in turn. Allocations run on both databases, and once more on one that is killed."""
    asked = only or ["walks", "seeds", "allocations", "starts", "crashes", "images", "rights", "bugs", *OF_BED]
    on_bed = [kind for kind in OF_BED if kind in asked]
    shares = {kind: share for kind, share in SHARES.items() if kind in asked or (kind == "bed" and on_bed)}
    whole = sum(shares.values())
    programs = [["tests.soak.seeds", f"--seconds={seconds:.0f}", "--again"]] if "replays" in asked else []
    for kind, share in shares.items():
        time_s = seconds * share / whole
        if kind == "seeds":
            programs.append(["tests.soak.seeds", f"--seconds={time_s:.0f}", f"--jobs={jobs}"])
        elif kind == "allocations":
            each = ["--database=sqlite"], ["--database=mariadb"], ["--database=mariadb", "--kill-server", "--takers=8"]
            programs += [["tests.soak.allocations", f"--seconds={time_s / 3:.0f}", *words] for words in each]
        elif kind == "bed":
            programs.append(["tests.soak.bed_runs", f"--seconds={time_s:.0f}", *(f"--kind={kind}" for kind in on_bed)])
        else:
            programs.append([f"tests.soak.{kind}", f"--seconds={time_s:.0f}"])
    return programs


def _read(words: list[str]) -> list[Tally]:
    """Run one program to its end; what it counted. One that does not say is itself a failure."""
    print(f"{time.strftime('%H:%M:%S')} {' '.join(words)}", flush=True)
    seconds = float(words[1].partition("=")[2])
    kind = words[0].rpartition(".")[2]
    try:
        forms = json.loads(_said(words, seconds + _GRACE_S).strip().rpartition("\n")[2])
    except (subprocess.TimeoutExpired, ValueError) as error:
        return [Tally(kind, Counter({"the run itself": 1}), [Failure("the run itself", str(error)[:500], f"python -m {' '.join(words)}")])]
    return [Tally.read(form) for form in (forms if isinstance(forms, list) else [forms])]


def _said(words: list[str], timeout_s: float) -> str:
    """What one program wrote. Raises TimeoutExpired; nothing that it started and left in its group runs on after this."""
    job = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        return job.communicate(timeout=timeout_s)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def table(tallies: list[Tally], say: Callable[[str], object]) -> None:
    """What was counted, one line per point."""
    for tally in tallies:
        failed = Counter(f.point for f in tally.failures)
        for point in sorted({*tally.runs, *failed}):
            say(f"{tally.kind:<12} {point:<44} {tally.runs[point]:>8} runs {failed[point]:>4} failed")
        for name, value in tally.figures.items():
            say(f"{tally.kind:<12} {name:<44} {value:>8.1f}")
