"""Seeds of the simulator, as many as the time allows, after those that were run before."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.soak import ledger, spans, tally
from tests.soak.tally import Budget, Tally

ROOT = Path(__file__).resolve().parents[2]
POINT = "seeds"


def first_new(file: Path = ledger.FILE) -> int:
    """The first seed that the ledger does not count yet."""
    if not file.exists():
        return 0
    ran = spans.read(json.loads(file.read_text("utf-8")).get("seeds", {}).get(POINT, {}).get("spans", ""))
    return ran[0][1] if ran and ran[0][0] == 0 else 0


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """From the first new seed on. Whoever runs this counts it."""
    if given.again:
        return again()
    first = given.first if given.first >= 0 else first_new()
    words = [sys.executable, "-m", "tests.simulator", "--seeds", f"{first}:{first}", "--minutes", f"{budget.seconds / 60:.2f}", "--jobs", str(given.jobs),
             "--no-ledger"]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return counted(json.loads(done.stdout.strip().rpartition("\n")[2]))


def again(file: Path = ledger.FILE) -> Tally:
    """Those that failed once, with the program as it is now."""
    found = Tally("seeds")
    known = json.loads(file.read_text("utf-8")).get("seeds", {}).get(POINT, {}) if file.exists() else {}
    for seed in map(ledger.number, known.get("replays", [])):
        words = [sys.executable, "-m", "tests.simulator", "--seeds", f"{seed}:{seed + 1}", "--no-ledger"]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        one = counted(json.loads(done.stdout.strip().rpartition("\n")[2]))
        found.runs += one.runs
        found.failures += one.failures
        found.spans[POINT] = spans.merged([*found.spans.get(POINT, []), *one.spans[POINT]])
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
    found.figures["per_s"] = form["seeds"] / form["seconds"] if form.get("seconds") else 0.0
    return found


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--first", type=int, default=-1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="only those that failed once")


if __name__ == "__main__":
    sys.exit(tally.program("seeds", run, arguments))
