"""The last picture, read without the code under test: raw tables, journals, and the folders of nodes and store."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connections

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

CLC = {
    "task": "id, kind, state, subject, error, deadline, created_at, owner_id, receiver",
    "instance": "id, state, wanted, node, nics, display_port, gen, task, error, image_id",
    "host": "id, role, name, state, boss", "imageversion": "id, image_id, version, state, blobs, task, parent_id", "outbox": 'command, "to", why',
    "taskstep": "task_id, name, state", "network": "id, number, subnet, retired_at",
    "upload": "id", "workspace": "id, state, instance_id, version_id, base_id, is_new, task",
}
CC = {
    "placement": "instance, node, fence, gen, wanted, found, spec", "addresslease": "ip, mac, instance, released_at",
    "portlease": "port, instance, released_at", "outbox": 'command, "to", why', "child": "id, role, draining",
    "flowrun": "command, kind, instance, step, waiting, ended_at", "segment": "id, number",
}
FORMS = {"error", "nics", "blobs", "spec", "facts"}


def rows(alias: str, table: str, columns: str, where: str = "") -> list[dict[str, Any]]:
    """Rows of one of our tables."""
    raw = connections[alias].connection
    names = [c.strip().strip('"') for c in columns.split(",")]
    found = raw.execute(f"select {columns} from luhyadb_{table} {where}").fetchall()
    return [{k: json.loads(v) if k in FORMS and v else v for k, v in zip(names, row, strict=True)} for row in found]


def is_open(sim: Simulation) -> bool:
    """Whether a table or a journal says that something is under way."""
    clc, cc = connections["default"].connection, connections["cc"].connection
    return any((
        clc.execute("select exists (select 1 from luhyadb_task where state in ('queued', 'running', 'cancelling'))").fetchone()[0],
        clc.execute("select exists (select 1 from luhyadb_outbox)").fetchone()[0],
        cc.execute("select exists (select 1 from luhyadb_outbox)").fetchone()[0],
        cc.execute("select exists (select 1 from luhyadb_flowrun where ended_at = 0)").fetchone()[0],
        *(db.execute("select exists (select 1 from commands where state in ('accepted', 'pending')) or exists (select 1 from reports)").fetchone()[0]
          for path, db in sim.disks._journals.items() if path.parent.name not in sim.retired),
    ))


def take(sim: Simulation) -> dict[str, Any]:
    """Everything the checker needs."""
    folder = sim.p.folder
    names = {m.host: n for n, (m, _) in sim.p.known.items()}
    return {
        "clc": {t: rows("default", t, c, "where ended_at = 0" if t == "flowrun" else "") for t, c in CLC.items()},
        "cc": {t: rows("cc", t, c, "where ended_at = 0" if t == "flowrun" else "") for t, c in CC.items()},
        "journals": {p.parent.name: _journal(db) for p, db in sim.disks._journals.items() if p.parent.name not in sim.retired},
        "nodes": {n: _node(folder / n) for n in sorted(sim.p.known) if n.startswith("nc") and n not in sim.retired},
        "hosts": names,
        "store": sorted(f.name for f in (folder / "walrus" / "store" / "objects" / "manifests_").glob("*")),
        "drafts": sorted(f.stem for f in (folder / "walrus" / "store" / "drafts").glob("*.json")),
        "later": None,
        "uploads": sorted(f.name for f in (folder / "walrus" / "store" / "uploads").glob("*")),
        "parts": sorted(str(f.relative_to(folder)) for f in folder.rglob("*.part")),
        "served": _served(sim),
    }


def _journal(db: Any) -> dict[str, list[Any]]:
    return {
        "open": db.execute("select id, kind, state from commands where state in ('accepted', 'pending', 'unreadable')").fetchall(),
        "reports": [n for (n,) in db.execute("select subject from reports")],
    }


def _node(folder: Path) -> dict[str, Any]:
    domains = {}
    for file in sorted((folder / "fake" / "domains").glob("ins-*.json")):
        domain = json.loads(file.read_text())
        domains[file.stem] = {"state": domain["state"], "nics": domain["spec"]["nics"], "port": domain["spec"]["display_port"]}
    wanted = {}
    for each in sorted((folder / "instances").glob("ins-*")):
        wanted[each.name] = {"state": "unreadable", "gen": 0, "fence": 0, "version": 0}
        with suppress(OSError, ValueError):
            read = json.loads((each / "wanted.json").read_text())
            wanted[each.name] = {"state": read["state"], "gen": read["gen"], "fence": read["fence"], "version": read["spec"]["image"]["version"]}
    taps = {f.name: f.read_text() for f in sorted((folder / "fake" / "taps").glob("*"))}
    pins = sorted({f.name for f in (folder / "cache" / "pins").glob("*/*") if f.name.startswith("ins-")})
    return {"domains": domains, "wanted": wanted, "taps": taps, "pins": pins}


def _served(sim: Simulation) -> list[list[str]] | None:
    """What DHCP serves, as the fake bridge holds it."""
    if "cc" not in sim.p.houses:
        return None
    plan = sim.p.houses["cc"].agent.services.edge.found()
    return None if plan is None else sorted([lease.instance, lease.mac, lease.ip] for network in plan.networks for lease in network.leases)
