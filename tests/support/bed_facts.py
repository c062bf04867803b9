"""What is really there on one host of a bed: ``python -m tests.support.bed_facts``, in the host, prints it as JSON; nothing of ours is asked.

Tables and journals are opened read-only. A part that this host has none of is empty.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from deploy.testbed.bed import named
from tests.simulator.snapshot import CC, CLC, FORMS

HOME = Path("/var/lib/educloud")
_SOCKET = HOME / "hypervisor/run/libvirt/libvirt-sock"
_TAP = re.compile("t[0-9a-f]{14}")
_ADDRESS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9./])")
_TOOL_S = 20


def here() -> dict[str, Any]:
    """Every fact of this host."""
    processes = list(_processes())
    return {
        "programs": _programs(processes),
        "guests": [each for pid, words in processes if (each := _guest(pid, words))],
        "domains": _domains() if _SOCKET.exists() else {},
        "taps": _taps(),
        "wanted": dict(_wanted(HOME / "nc/instances")),
        "pins": sorted({f.name for f in (HOME / "nc/cache/pins").glob("*/*") if f.name.startswith("ins-")}),
        "networks": [_network(plan.parent, processes) for plan in sorted(HOME.glob("[cn]c/edge*/**/plan.json"))],
        "addresses": sorted(set(_ADDRESS.findall(_said("nft", "list", "ruleset")))),
        "parts": sorted(str(f.relative_to(HOME)) for role in ("nc", "cc", "walrus") for f in (HOME / role).rglob("*.part")),
        "journals": {file.parent.name: _journal(file) for file in HOME.glob("*/journal.sqlite")},
        "clc": _tables(HOME / "clc/database.sqlite", CLC),
        "cc": _tables(HOME / "cc/database.sqlite", CC),
    }


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cmdline").read_text("utf-8", "replace").split("\0")[:-1]
            except OSError:
                continue


def _programs(processes: list[tuple[int, list[str]]]) -> dict[str, int]:
    """How often each program of this host runs, which its supervisor keeps running."""
    running = [named(words, _command(pid), _marked(pid)) for pid, words in processes]
    return {file.stem: running.count(file.stem) for file in sorted((HOME / "supervisor").glob("*.json")) if file.stem != "choices"}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    except OSError:
        return ""


def _marked(pid: int) -> str:
    """As which program it was started."""
    try:
        marks = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((mark[17:].decode() for mark in marks if mark.startswith(b"EDUCLOUD_PROGRAM=")), "")


def _guest(pid: int, words: list[str]) -> dict[str, Any] | None:
    """A guest's process by its own words: whose it is, the MACs of its cards, where its screen listens."""
    instance = next((w[6:].partition(",")[0] for w in words if w.startswith("guest=")), "")
    if not instance:
        return None
    macs = re.findall(r'"mac":"([0-9a-f:]+)"', " ".join(words))
    screen = next((w.partition("unix:")[2].partition(",")[0] for w in words if w.startswith("vnc=unix:")), "")
    return {"instance": instance, "pid": pid, "macs": macs, "screen": screen, "listens": bool(screen) and Path(screen).exists()}


def _domains() -> dict[str, Any]:
    """What libvirt knows, asked by its own client."""
    virsh = ["virsh", "--quiet", "--readonly", "--connect", f"qemu:///system?socket={_SOCKET}"]
    found = {}
    for name in _said(*virsh, "list", "--all", "--name").split():
        root = ET.fromstring(_said(*virsh, "dumpxml", name))
        cards = [{"mac": mac.get("address", ""), "tap": tap.get("dev", "") if (tap := card.find("target")) is not None else ""}
                 for card in root.findall("devices/interface") if (mac := card.find("mac")) is not None]
        ports = [int(each.get("display-port", 0)) for each in root.iter() if each.get("display-port")]
        found[name] = {"state": _said(*virsh, "domstate", name).strip(), "nics": cards, "port": next(iter(ports), 0)}
    return found


def _taps() -> dict[str, str]:
    """Taps of guests, with the bridge each is on."""
    return {link["ifname"]: link.get("master", "") for link in json.loads(_said("ip", "-json", "link")) if _TAP.fullmatch(link["ifname"])}


def _wanted(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in sorted(folder.glob("ins-*")):
        try:
            read = json.loads((each / "wanted.json").read_text("utf-8"))
            yield each.name, {"state": read["state"], "gen": read["gen"], "fence": read["fence"], "version": read["spec"]["image"]["version"]}
        except (OSError, ValueError, KeyError):
            yield each.name, {"state": "unreadable", "gen": 0, "fence": 0, "version": 0}


def _network(folder: Path, processes: list[tuple[int, list[str]]]) -> dict[str, Any]:
    """A network with DHCP: its plan, the lines of its host files, and who serves them."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    lines = [file.read_text("ascii").strip().split(",") for file in sorted((folder / "hosts").glob("*"))]
    return {
        "bridge": plan["bridge"], "subnet": plan["subnet"], "gateway": plan["gateway"],
        "planned": sorted([lease["instance"], lease["mac"], lease["ip"]] for lease in [*plan["leases"], *_lent(folder / "lent.jsonl")]),
        "hosts": sorted([line[0], line[1]] for line in lines),
        "served_by": [pid for pid, words in processes if f"--dhcp-hostsdir={folder / 'hosts'}" in words],
    }


def _lent(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def _journal(file: Path) -> dict[str, list[Any]]:
    with closing(_opened(file)) as db:
        return {
            "open": db.execute("select id, kind, state from commands where state in ('accepted', 'pending', 'unreadable')").fetchall(),
            "reports": [n for (n,) in db.execute("select subject from reports")],
        }


def _tables(file: Path, columns: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    if not file.exists():
        return {}
    with closing(_opened(file)) as db:
        return {table: _rows(db, table, wanted) for table, wanted in columns.items()}


def _rows(db: sqlite3.Connection, table: str, columns: str) -> list[dict[str, Any]]:
    names = [c.strip().strip('"') for c in columns.split(",")]
    where = "where ended_at = 0" if table == "flowrun" else ""
    found = db.execute(f"select {columns} from luhyadb_{table} {where}").fetchall()
    return [{k: json.loads(v) if k in FORMS and v else v for k, v in zip(names, row, strict=True)} for row in found]


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=_TOOL_S)


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=_TOOL_S, check=True).stdout


if __name__ == "__main__":
    print(json.dumps(here()))
