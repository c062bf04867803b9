"""Many guests at once: 40 of ``tiny``, emulated, on one node; 40 on two nodes of a test bed; 40 pretended ones on two nodes.

Running is what the API says; up is when the guest's own web page answers with its id; booted is when its console says so, which
is also what B waits for: ``virsh create`` of the same machine on the same libvirt, two at a time. A guest boots from when its
process is there until its console says that it is up; how many do so at once on a node is looked at four times a second. Each MAC,
address and display port is verified to be there once, no machine more or less than was asked for, and that nothing is left after
all are deleted, which is timed from the first DELETE on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx

from bench import virsh
from bench.cloud import client_of, fresh, pretended
from deploy.testbed.bed import Bed
from tests.support.bed_sight import NODES, five_hosts
from tests.support.real_cloud import Cloud

COUNT = 40
AT_ONCE = 2
"""Of B; a node's own limit on two processors is the same."""
_PATIENCE_S = 600.0
_LOOK_EVERY_S = 0.25
Runs = dict[str, list[float]]


def measure() -> dict[str, Any]:
    """Seconds; and what was verified."""
    runs: Runs = {}
    with ready() as (cloud, admin):
        _one_node(cloud, admin, runs)
        with pretended(cloud, COUNT, 2):
            _pretended(admin, runs)
    with five_hosts("bench") as bed:
        _two_nodes(bed, runs)
    return {"runs": runs}


@contextlib.contextmanager
def ready() -> Iterator[tuple[Cloud, httpx.Client]]:
    """A cloud that has its first image, and a client of its administrator."""
    with fresh() as cloud:
        cloud.host("up")
        assert cloud.soon(lambda: any(i["versions"] for i in cloud.json("image", "list")), 60)
        with client_of(cloud) as admin:
            yield cloud, admin


def instances(client: httpx.Client, state: str = "") -> list[dict[str, Any]]:
    """All that the client may see, of that state or not deleted."""
    found: list[dict[str, Any]] = []
    url = f"/api/v1/instances/?limit=200{f'&state={state}' if state else ''}"
    while url:
        page = client.get(url).raise_for_status().json()
        found, url = found + page["results"], page["next"]
    return found


def distinct(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many different MACs, addresses and ports there are; each machine has one of each."""
    cards = [n for r in rows for n in r["nics"]]
    return {"macs": len({c["mac"] for c in cards}), "addresses": len({c["ip"] for c in cards}), "ports": len({r["display"]["port"] for r in rows})}


def lost_or_double(rows: list[dict[str, Any]], asked: int) -> int:
    """Machines that are not there, or too many, or have a MAC, address or port that another has too."""
    return abs(len(rows) - asked) + sum(len(rows) - found for found in distinct(rows).values())


def until(true: Callable[[], bool], what: str, every_s: float = 0.2) -> None:
    """Wait for it; ``what`` is said when it does not come true."""
    ends = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(every_s)


class Booting(threading.Thread):
    """How many guests boot at once on each node, and when each has booted; ``nodes``: the folder of instances of each."""

    def __init__(self, nodes: Mapping[str, Path]) -> None:
        super().__init__(daemon=True)
        self._nodes, self._ended, self._began = nodes, threading.Event(), time.monotonic()
        self.booted_s: dict[str, float] = {}
        self.at_once: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            running = _guests()
            for node, folder in self._nodes.items():
                there = [each for each in running if (folder / each).exists()]
                for each in there:
                    if each not in self.booted_s and _has_booted(folder / each / "console.log"):
                        self.booted_s[each] = time.monotonic() - self._began
                self.at_once[node] = max(self.at_once[node], sum(each not in self.booted_s for each in there))


def _guests() -> set[str]:
    """The names of all guests whose process is there."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            found |= {word[6:].partition(b",")[0].decode() for word in words if word.startswith(b"guest=")}
    return found


def _has_booted(log: Path) -> bool:
    try:
        return " is up" in log.read_text(errors="replace")
    except OSError:
        return False


def _note(runs: Runs, what: str, watch: Booting) -> None:
    assert watch.at_once, "nobody was seen to boot"
    runs[f"{what}: booted, s"] = sorted(watch.booted_s.values())
    runs[f"{what}: boots at once on a node"] = [float(most) for most in watch.at_once.values()]


# ---- one node, and virsh


def _one_node(cloud: Cloud, admin: httpx.Client, runs: Runs) -> None:
    what = f"{COUNT} real, one node"
    with Booting({"nc": Path(cloud.environ["EDUCLOUD_HOME"]) / "nc" / "instances"}) as watch:
        began = time.monotonic()
        admin.post("/api/v1/instances/", json={"image": "tiny", "count": COUNT}).raise_for_status()
        running, up = dict[str, float](), dict[str, float]()
        with ThreadPoolExecutor(8) as pool:
            while len(up) < COUNT:
                assert time.monotonic() - began < _PATIENCE_S, f"{len(up)} of {COUNT} are up"
                for row in instances(admin, "running"):
                    running.setdefault(row["id"], time.monotonic() - began)
                # those that have not booted answer nobody, and asking them takes long
                waited = [row for row in instances(admin) if row["id"] in watch.booted_s and row["id"] not in up]
                for row, answers in zip(waited, pool.map(_answers, waited), strict=True):
                    if answers:
                        up[row["id"]] = time.monotonic() - began
                time.sleep(0.1)
        until(lambda: len(instances(admin, "running")) == COUNT, "they do not all run")
        running = {**{each: time.monotonic() - began for each in up}, **running}
    _note(runs, what, watch)
    rows = instances(admin)
    runs |= {f"{what}: all running, s": [max(running.values())], f"{what}: up, s": sorted(up.values()),
             f"{what}: lost or double": [lost_or_double(rows, COUNT)], f"{what}: all deleted, s": [_deleted(admin, rows)]}
    twin = virsh.Twin(cloud, admin)
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(twin.booted, range(COUNT)))
    runs[f"B {COUNT} bare, two at a time: all booted, s"] = [time.monotonic() - began]
    assert twin.running() == COUNT
    twin.gone(range(COUNT))
    assert twin.running() == 0
    twin.close()
    until(lambda: not instances(admin), "it is not deleted")


def _deleted(admin: httpx.Client, rows: list[dict[str, Any]]) -> float:
    """Seconds from the first DELETE until nothing is left."""
    began = time.monotonic()
    for row in rows:
        admin.delete(f"/api/v1/instances/{row['id']}/").raise_for_status()
    until(lambda: not instances(admin), "they are not deleted", 0.05)
    return time.monotonic() - began


def _answers(row: dict[str, Any]) -> bool:
    try:
        return httpx.get(f"http://{row['nics'][0]['ip']}/", timeout=1).text.startswith(row["id"])
    except httpx.HTTPError:
        return False


# ---- two nodes, pretended


def _pretended(admin: httpx.Client, runs: Runs) -> None:
    what = f"{COUNT} fake, two nodes"
    began = time.monotonic()
    admin.post("/api/v1/instances/", json={"image": "tiny", "count": COUNT}).raise_for_status()
    until(lambda: len(instances(admin, "running")) == COUNT, "they do not all run", 0.05)
    runs[f"{what}: all running, s"] = [time.monotonic() - began]
    rows = instances(admin)
    assert len({row["host"] for row in rows}) == 2, "both nodes have some"
    runs |= {f"{what}: lost or double": [lost_or_double(rows, COUNT)], f"{what}: all deleted, s": [_deleted(admin, rows)]}


# ---- two nodes, real


def _two_nodes(bed: Bed, runs: Runs) -> None:
    what = f"{COUNT} real, two nodes"
    one = bed.answer("instance", "run", "--image", "tiny", timeout_s=_PATIENCE_S)
    bed.educloud("instance", "delete", one["id"], "--yes")  # type: ignore[index]
    folders = {name: bed.folder / name / "files/var/lib/educloud/nc/instances" for name in NODES}
    with Booting(folders) as watch:
        began, up = time.monotonic(), dict[str, float]()
        bed.educloud("instance", "run", "--image", "tiny", "--count", str(COUNT), "--no-wait")
        while len(up) < COUNT:
            assert time.monotonic() - began < _PATIENCE_S, f"{len(up)} of {COUNT} are up"
            rows = _listed(bed)
            waited = [row["nics"][0]["ip"] for row in rows if row["nics"] and row["id"] in watch.booted_s and row["id"] not in up]
            for each in _said(bed, waited) & {row["id"] for row in rows}:
                up.setdefault(each, time.monotonic() - began)
    _note(runs, what, watch)
    until(lambda: {row["state"] for row in _listed(bed)} == {"running"}, "they do not all run")
    rows = _listed(bed)
    assert len({row["host"] for row in rows}) == 2, "both nodes have some"
    runs |= {f"{what}: up, s": sorted(up.values()), f"{what}: lost or double": [lost_or_double(rows, COUNT)]}


def _listed(bed: Bed) -> list[dict[str, Any]]:
    return list(bed.answer("instance", "list"))  # type: ignore[call-overload]


def _said(bed: Bed, addresses: list[str]) -> set[str]:
    """The first words of all web pages at these addresses that answer."""
    if not addresses:
        time.sleep(_LOOK_EVERY_S)
        return set()
    words = ["curl", "-s", "-m", "2", "--parallel", "--parallel-max", str(len(addresses)), *(f"http://{each}/" for each in addresses)]
    return {line.strip() for line in bed.run("head", words, check=False).text.splitlines()}
