"""Two ledgers that grew from one: ``python -m tests.soak.merge BASE MINE THEIRS`` writes both growths into MINE, as a merge driver of git does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.soak import ledger, spans

Entry = dict[str, Any]
Ledger = dict[str, dict[str, Entry]]


def merged(base: Ledger, mine: Ledger, theirs: Ledger) -> Ledger:
    """What was added on either side is added once; what one side took out is out."""
    found: Ledger = {}
    for kind in sorted({*mine, *theirs}):
        for point in sorted({*mine.get(kind, {}), *theirs.get(kind, {})}):
            before, one, two = (side.get(kind, {}).get(point) for side in (base, mine, theirs))
            if one and two:
                found.setdefault(kind, {})[point] = _entry(before or {}, one, two)
            elif not before:
                found.setdefault(kind, {})[point] = one or two or {}
    return found


def _entry(base: Entry, mine: Entry, theirs: Entry) -> Entry:
    if base in (mine, theirs):
        return theirs if mine == base else mine
    newer = theirs if theirs["last"] > mine["last"] else mine
    found = {**theirs, **mine, **newer}
    twice = 0
    if "spans" in mine or "spans" in theirs:
        before, one, two = (spans.numbers(spans.read(each.get("spans", ""))) for each in (base, mine, theirs))
        twice = len((one & two) - before)
        found["spans"] = spans.write(spans.of(one | two))
    known = base.get("replays", [])
    fresh = [r for side in (mine, theirs) for r in side.get("replays", []) if r not in known]
    again = len(fresh) - len(set(fresh)) if twice else 0
    found["runs"] = _sum(base, mine, theirs, "runs") - twice
    found["failures"] = _sum(base, mine, theirs, "failures") - again
    found["since"] = _since(base, mine, theirs, "failures", twice)
    if known or fresh:
        found["replays"] = [*known, *dict.fromkeys(fresh)][-ledger.REPLAYS_KEPT:]
    if mended := _kept(base.get("mended", []), mine.get("mended", []), theirs.get("mended", [])):
        found["mended"] = sorted(mended, key=ledger.number)
    if "with" in mine and "with" in theirs:
        found["with"] = _with(base.get("with", {}), mine["with"], theirs["with"])
    return found


def _sum(base: Entry, mine: Entry, theirs: Entry, what: str) -> int:
    return int(mine.get(what, 0)) + int(theirs.get(what, 0)) - int(base.get(what, 0))


def _since(base: Entry, mine: Entry, theirs: Entry, failures: str, twice: int) -> int:
    """Which side ran first nobody knows: where something failed, only what that side ran after it counts, and the lesser of both."""
    failing = [side for side in (mine, theirs) if side.get(failures, 0) > base.get(failures, 0) or side.get("since", 0) < base.get("since", 0)]
    return min(int(side.get("since", 0)) for side in failing) if failing else _sum(base, mine, theirs, "since") - twice


def _kept(base: list[str], mine: list[str], theirs: list[str]) -> set[str]:
    """What either side added, less what either took out."""
    return {r for r in (*mine, *theirs) if r not in base or (r in mine and r in theirs)}


def _with(base: Entry, mine: Entry, theirs: Entry) -> Entry:
    """Counts of seeds that both sides ran cannot be told apart: then those of the side with more seeds hold."""
    before, one, two = (spans.numbers(spans.read(each.get("spans", ""))) for each in (base, mine, theirs))
    if (one & two) - before:
        return mine if len(one) >= len(two) else theirs
    kinds = sorted({*mine["runs"], *theirs["runs"]})
    failed = {k: sorted({*mine["failed"].get(k, []), *theirs["failed"].get(k, [])}) for k in kinds}
    sides = [{k: {"since": each.get("since", {}).get(k, 0), "failed": len(each.get("failed", {}).get(k, []))} for k in kinds} for each in (base, mine, theirs)]
    return {
        "counted_since": min(mine["counted_since"], theirs["counted_since"]), "spans": spans.write(spans.of(one | two)),
        "runs": {k: _sum(*(each.get("runs", {}) for each in (base, mine, theirs)), k) for k in kinds},
        "failed": {k: seeds for k, seeds in failed.items() if seeds},
        "since": {k: _since(*(side[k] for side in sides), "failed", 0) for k in kinds},
    }


def main(words: list[str]) -> int:
    """The program."""
    base, mine, theirs = map(Path, words)
    before, two = (json.loads(file.read_text("utf-8")) for file in (base, theirs))
    with ledger.opened(mine) as one:
        found = merged(before, dict(one), two)
        one.clear()
        one.update(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
