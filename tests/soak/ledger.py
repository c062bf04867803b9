"""The committed ledger: what was run so far, by kind and point; only ever added to, by program."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.soak import spans
from tests.soak.spans import Span
from tests.soak.tally import Failure, Tally

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs/ledger.json"
REPLAYS_KEPT = 200


def machine() -> str:
    """In words, what it was run on."""
    memory_kib = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return f"{os.cpu_count()} x {model or platform.machine()}, {memory_kib / 1024**2:.0f} GiB, Linux {platform.release().split('-')[0]}"


def add(tally: Tally, file: Path = FILE) -> None:
    """Add what a run counted; two programs may do so at once."""
    today, where = datetime.now(UTC).date().isoformat(), machine()
    with opened(file) as ledger:
        points = ledger.setdefault(tally.kind, {})
        for point in sorted({*tally.runs, *(f.point for f in tally.failures)}):
            entry: dict[str, Any] = points.setdefault(point, {"runs": 0, "failures": 0})
            failed = [f for f in tally.failures if f.point == point]
            runs = tally.runs[point]
            fails_again = {f.replay for f in failed} & set(entry.get("mended", []))
            if point in tally.spans:
                runs, failed = _new(entry, tally.spans[point], failed)
            entry["runs"] += runs
            entry["failures"] += len(failed)
            entry["since"] = 0 if failed or fails_again else entry.get("since", 0) + runs
            entry |= {"last": today, "machine": where} | tally.facts.get(point, {})
            if came := tally.came.get(point):
                _with(entry, tally.spans[point], came, {number(f.replay) for f in tally.failures if f.point == point})
            if failed:
                entry["replays"] = [*entry.get("replays", []), *(f.replay for f in failed)][-REPLAYS_KEPT:]


def _new(entry: dict[str, Any], ran: list[Span], failed: list[Failure]) -> tuple[int, list[Failure]]:
    """How many of the numbered runs the entry does not count yet, and those that failed and are not known to fail."""
    before = spans.read(entry.get("spans", ""))
    both = spans.merged([*before, *ran])
    entry["spans"] = spans.write(both)
    known, fails = entry.get("replays", []), {f.replay for f in failed}
    passed = {replay for replay in known if number(replay) in spans.numbers(ran) and replay not in fails}
    if "mended" in entry or passed:
        entry["mended"] = sorted((set(entry.get("mended", [])) | passed) - fails, key=number)
    return spans.size(both) - spans.size(before), [f for f in failed if f.replay not in known]


def _with(entry: dict[str, Any], ran: list[Span], came: dict[str, list[Span]], fails: set[int]) -> None:
    """In how many of the numbered runs each thing came, which of these failed, and how many ran after; counted once, as the runs are."""
    kept = entry.setdefault("with", {"counted_since": entry["last"], "spans": "", "runs": {}, "failed": {}, "since": {}})
    before = spans.read(kept["spans"])
    fresh = spans.numbers(ran) - spans.numbers(before)
    kept["spans"] = spans.write([*before, *ran])
    for what, where in came.items():
        mine = spans.numbers(where)
        failed, runs = mine & fails, len(mine & fresh)
        kept["runs"][what] = kept["runs"].get(what, 0) + runs
        kept["since"][what] = 0 if failed else kept["since"].get(what, 0) + runs
        if failed:
            kept["failed"][what] = sorted(failed | set(kept["failed"].get(what, [])))


def number(replay: str) -> int:
    """The number of a run, which its command line ends with."""
    return int(replay.rpartition(" ")[2])


def runs(kind: str, file: Path = FILE) -> dict[str, int]:
    """How often each point of a kind was tried."""
    return {point: entry["runs"] for point, entry in json.loads(file.read_text("utf-8")).get(kind, {}).items()}


@contextmanager
def opened(file: Path) -> Iterator[dict[str, Any]]:
    """The ledger, written when this is closed; nobody else has it meanwhile."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ledger: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
        yield ledger
        half = file.with_name(f".{file.name}.part")
        half.write_text(json.dumps(ledger, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
        half.replace(file)
