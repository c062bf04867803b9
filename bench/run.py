"""``python -m bench.run [NAME]``: measure, print a table, write ``bench/results/<name>.json``; the last line is one JSON object.

What was measured below MariaDB lies in ``<name>-mariadb.json``.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

IMAGES = ("pack", "delivery", "update", "fanout", "store", "lazy")
EDGE = ("forwards", "dhcp", "leases", "through")
GROUPS = {"transfer": IMAGES, "edge": EDGE}
"""What one name measures when it is not one benchmark."""
NAMES = ("start", "launches", "command", "up", "many", "overload", "heartbeat", "schedule", "listing", "rights", "reports", *EDGE, *IMAGES)
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What it was measured on."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(), "cpu": model[0] if model else platform.machine(), "memory_kib": int(memory.split()[1]),
        "kernel": platform.release(), "python": platform.python_version(), "load_before": os.getloadavg()[0],
    }


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    unknown = [name for name in names if name not in (*NAMES, *GROUPS)]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join((*NAMES, *GROUPS))}", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    for name in [one for asked in names for one in GROUPS.get(asked, (asked,))] or NAMES:
        where = machine()
        found = importlib.import_module(f"bench.{name}").measure()
        runs: dict[str, list[float]] = found["runs"]
        for what, values in runs.items():
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"{name:8} {what:44} n={len(values):<3} min {low:9.4f}  median {middle:9.4f}  max {high:9.4f}")
        for what, ratio in found.get("ratios", {}).items():
            print(f"{name:8} {what:44} {ratio:.3f}")
        document = {"name": name, "machine": where, **found}
        database = found.get("database", "SQLite")
        (RESULTS / f"{name}{'' if database == 'SQLite' else '-' + database.lower()}.json").write_text(json.dumps(document, indent=1) + "\n")
        figures = {what: statistics.median(values) for what, values in runs.items()}
        print(json.dumps({"name": name, "figures": figures, "ratios": found.get("ratios", {}), "aims_met": found.get("aims_met", {})}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
