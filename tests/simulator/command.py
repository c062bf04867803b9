"""The command line of the simulator: which seeds, how long, in how many processes; its last line is JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from typing import Any

from luhyaapi import log
from tests.simulator import bugs, cloud, runs, story
from tests.soak import ledger, seeds

TOLD_EVERY_S, COUNTED_EVERY_S = 10.0, 60.0
FAILED_AT_MOST = 10


def main(words: list[str]) -> int:
    """Exit code 0 when no seed failed, 1 when one did, 2 for a wrong use."""
    args = _arguments(words)
    log.setup("CRITICAL" if not args.log else "INFO")
    if args.story:
        with cloud.own_memories():
            return _story(args)
    first, _, end = (args.seeds or ("0:0" if args.minutes else "0:100")).partition(":")
    is_endless = args.minutes and int(end or 0) == int(first)
    asked = runs.Range(int(first), runs.ENDLESS if is_endless else int(end or int(first) + 1), args.step, args.minutes * 60, args.bug, args.like)
    if args.batches:
        with cloud.own_memories():
            for batch in runs.here(asked):
                print(json.dumps(batch), flush=True)
        return 0
    if args.jobs > 1:
        with runs.in_jobs(asked, args.jobs) as batches:
            return _add_up(args, asked, batches)
    with cloud.own_memories():
        return _add_up(args, asked, runs.here(asked))


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator")
    parser.add_argument("--seeds", default="", help="A:B, from A to before B, by default 0:100; they are counted in docs/ledger.json, each once")
    parser.add_argument("--minutes", type=float, default=0, help="so long at most; with A:A, or without --seeds, from there on")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--no-ledger", action="store_true", help="do not count")
    parser.add_argument("--bug", default="", choices=["", *bugs.BUGS], help="plant one of the deliberate bugs")
    parser.add_argument("--like", default="", choices=["", *bugs.BUGS], help="the seeds of a bug, without the bug")
    parser.add_argument("--story", default="", help="run one seed and tell what happened")
    parser.add_argument("--plain", action="store_true", help="of --story: nothing made quicker")
    parser.add_argument("--shrink", action="store_true", help="drop faults and actions from a failing seed while it fails")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the tenth failing seed")
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--batches", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log", action="store_true", help="the log of the roles too")
    return parser.parse_args(words)


def _story(args: argparse.Namespace) -> int:
    planned = story.planned(args.story, args.like or args.bug)
    result = story.shrink(planned, args.bug) if args.shrink else story.run(planned, args.bug, quick=False if args.plain else None)
    print(story.tell(result, args.bug))
    print(json.dumps({"seed": args.story, "digest": result.digest, "violations": result.violations}))
    return 1 if result.violations else 0


def _add_up(args: argparse.Namespace, asked: runs.Range, batches: Iterable[runs.Batch]) -> int:
    whole, fresh = runs.Sum(), runs.Sum()
    began = told = counted = time.monotonic()
    for batch in batches:
        whole.add(batch)
        fresh.add(batch)
        for seed, why in batch["failed"].items():
            print(f"seed {seed} fails: {'; '.join(why[:3])}", flush=True)
        now = time.monotonic()
        if now - told > TOLD_EVERY_S:
            told = now
            print(_progress(whole, asked, now - began), flush=True)
        if now - counted > COUNTED_EVERY_S:
            counted = now
            _count(args, fresh.form(0))
            fresh = runs.Sum()
        if len(whole.failed) >= (1 if args.bug else FAILED_AT_MOST) and not args.keep_going:
            break
    last = whole.form(time.monotonic() - began) | {"jobs": args.jobs}
    _count(args, fresh.form(0) | {"rate": seeds.rate(last)})
    if not args.no_ledger:
        del last["came"]  # of whoever counts elsewhere: long, and counted here
    print(json.dumps(last | {"bug": args.bug}))
    return 1 if whole.failed else 0


def _progress(whole: runs.Sum, asked: runs.Range, seconds: float) -> str:
    ran = len(whole.ran)
    rate = ran / seconds
    left_s = min(asked.seconds - seconds if asked.seconds else 1e9, (asked.end - asked.first - ran) / rate)
    end = time.strftime("%H:%M:%S", time.localtime(time.time() + max(left_s, 0)))
    return f"{time.strftime('%H:%M:%S')} {ran} seeds, {len(whole.failed)} failed, {rate:.2f} a second, until {end}"


def _count(args: argparse.Namespace, form: dict[str, Any]) -> None:
    """Into the ledger, if they are seeds that count."""
    if form["seeds"] and not (args.no_ledger or args.bug or args.like):
        ledger.add(seeds.counted(form))
