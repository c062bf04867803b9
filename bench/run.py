"""``python -m bench.run [NAME]``: measure, print a table, write ``bench/results/<name>.json``; the last line is one JSON object.

What was measured below MariaDB lies in ``<name>-mariadb.json``; what was measured on a busy machine, because ``EDUCLOUD_BENCH_BUSY``
is set, in ``<name>.local.json``, which the page of figures does not read.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from bench import quiet, rows, tables

IMAGES = ("pack", "delivery", "update", "fanout", "store", "lazy")
EDGE = ("forwards", "dhcp", "leases", "through")
GROUPS = {"transfer": IMAGES, "edge": EDGE}
"""What one name measures when it is not one benchmark."""
NAMES = ("start", "launches", "command", "up", "many", "overload", "heartbeat", "schedule", "listing", "rights", "reports", *EDGE, *IMAGES)
RESULTS = Path(__file__).parent / "results"
_USAGE, _BUSY = 2, 3


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all. Exit code 3: the machine is too busy to measure on."""
    unknown = [name for name in names if name not in (*NAMES, *GROUPS)]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join((*NAMES, *GROUPS))}", file=sys.stderr)
        return _USAGE
    RESULTS.mkdir(exist_ok=True)
    for name in [one for asked in names for one in GROUPS.get(asked, (asked,))] or NAMES:
        try:
            load = quiet.load() if os.environ.get(quiet.BUSY) else quiet.awaited()
        except quiet.TooBusyError as e:
            print(e, file=sys.stderr)
            return _BUSY
        where = quiet.machine(load)
        kept(name, where, importlib.import_module(f"bench.{name}").measure())
    return 0


def kept(name: str, where: dict[str, Any], found: dict[str, Any], results: Path = RESULTS) -> Path:
    """Print what a benchmark measured and write it, with its rows; where."""
    runs: dict[str, list[float]] = found["runs"]
    for what, values in runs.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:8} {what:44} n={len(values):<3} min {low:9.4f}  median {middle:9.4f}  max {high:9.4f}")
    database = found.get("database", "SQLite")
    of = f"{name}{'' if database == 'SQLite' else '-' + database.lower()}"
    told = rows.told(tables.ROWS, of, runs)
    for row in told:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3f} of {row['peer_is']}, {row['better']} is better"
        print(f"{name:8} {row['what']:44} {ratio}  {'' if row['met'] is None else 'met' if row['met'] else 'missed'}")
    file = results / f"{of}{'.local' if where['busy'] else ''}.json"
    file.write_text(json.dumps({"name": name, "machine": where, **found, "rows": told}, indent=1) + "\n")
    figures = {what: statistics.median(values) for what, values in runs.items()}
    print(json.dumps({"name": name, "load_before": where["load_before"], "commit": where["commit"], "busy": where["busy"], "figures": figures, "rows": told}))
    return file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
