"""Seeds of the simulator, as many as the time allows, of those that were not run before."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.soak import ledger, spans, tally
from tests.soak.spans import Span
from tests.soak.tally import Budget, Tally

ROOT = Path(__file__).resolve().parents[2]
POINT = "seeds"
GROUPS = {
    "messages lost or late": ("message drop", "broker_lost", "message delay", "message reorder"), "messages late": ("message delay", "message reorder"),
    "messages in a storm": ("message drop", "message double", "message delay", "message reorder"), "cuts": ("cut", "cut_one_way"),
    "clocks": ("clock_forward", "clock_backward"), "bytes broken off": ("bytes_cut", "crash_bytes"),
    "died at a rename": tuple(f"died at {what}: {when} rename" for what in ("file", "blob", "object") for when in ("before", "after")),
}
"""Names for what several faults are: a seed with any of them counts once."""
_NEAR = 20
_RATED = 200
"""So many seeds and more tell a rate."""


def holes(file: Path = ledger.FILE) -> list[Span]:
    """Where seeds before the last one counted are not counted; then, as one without an end, all after it.

    Those that lie near each other are one: to run a few again takes less long than to begin anew, and none is counted twice.
    """
    told = json.loads(file.read_text("utf-8")) if file.exists() else {}
    ran = spans.read(told.get("seeds", {}).get(POINT, {}).get("spans", ""))
    ends = [0, *(end for _, end in ran)]
    found: list[Span] = []
    for end, (first, _) in zip(ends, ran, strict=False):
        if found and end - found[-1][1] < _NEAR:
            found[-1] = found[-1][0], first
        elif end < first:
            found.append((end, first))
    return [*found, (ends[-1], ends[-1])]


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """The holes, then those after the last one. Whoever runs this counts it."""
    if given.again:
        return again()
    found = Tally("seeds")
    for first, end in [(given.first, given.first)] if given.first >= 0 else holes():
        if budget.left() <= 0:
            break
        words = ["--seeds", f"{first}:{end}", "--minutes", f"{budget.left() / 60:.3f}", "--jobs", str(given.jobs)]
        _plus(found, _simulated(words))
    return found


def _simulated(words: list[str]) -> Tally:
    done = subprocess.run([sys.executable, "-m", "tests.simulator", *words, "--no-ledger"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return counted(json.loads(done.stdout.strip().rpartition("\n")[2]))


def _plus(found: Tally, more: Tally) -> None:
    found.runs += more.runs
    found.failures += more.failures
    found.figures |= more.figures
    found.facts |= more.facts
    found.spans[POINT] = spans.merged([*found.spans.get(POINT, []), *more.spans[POINT]])
    came = found.came.setdefault(POINT, {})
    for what, where in more.came[POINT].items():
        came[what] = spans.merged([*came.get(what, []), *where])


def again(file: Path = ledger.FILE) -> Tally:
    """Those that failed once, with the program as it is now."""
    found = Tally("seeds")
    known = json.loads(file.read_text("utf-8")).get("seeds", {}).get(POINT, {}) if file.exists() else {}
    for seed in map(ledger.number, known.get("replays", [])):
        _plus(found, _simulated(["--seeds", f"{seed}:{seed + 1}"]))
    return found


def counted(form: dict) -> Tally:
    """The simulator's last line as a tally."""
    found = Tally("seeds")
    found.count(POINT, int(form["seeds"]))
    if "spans" in form:
        found.spans[POINT] = spans.read(form["spans"])
    stories = form.get("first", {})
    for seed in map(str, form.get("failed", [])):
        found.fail(POINT, "; ".join(stories.get(seed, ["told by its story"])), f"python -m tests.simulator --story {seed}")
    came = {what: spans.read(text) for what, text in form.get("came", {}).items()}
    for name, kinds in GROUPS.items():
        if any_of := spans.merged(span for kind in kinds for span in came.get(kind, [])):
            came[name] = any_of
    found.came[POINT] = came
    found.figures["per_s"] = form["seeds"] / form["seconds"] if form.get("seconds") else 0.0
    if told := form.get("rate") or rate(form):
        found.facts[POINT] = {"rate": told}
    return found


def rate(form: dict) -> dict[str, float]:
    """How fast a run was, from its last line; empty when it was short."""
    if form["seeds"] < _RATED or not form.get("seconds"):
        return {}
    return {"seeds": form["seeds"], "jobs": form.get("jobs", 1), "per_s": form["seeds_per_second"], "per_cpu_s": form["seeds_per_cpu_second"]}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--first", type=int, default=-1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="only those that failed once")


if __name__ == "__main__":
    sys.exit(tally.program("seeds", run, arguments))
