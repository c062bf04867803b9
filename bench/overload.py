"""1,000 runs of three owners at once where 150 fit, on three nodes of real processes with pretended guests.

NC and CC begin again with the fake drivers and two more nodes join, the rest is as it was. One owner asks ten times for 90 each,
beside him one asks for 99, and after them one for a single one; meanwhile a list, the waiting tasks and the status are asked for
again and again. Verified: each that runs has a MAC, an address and a port of its own, all three nodes are full, and the third owner
runs what he asked for. Counted: how many wait without a place of their own or a reason, and how many times as many the one of the two
who want more than fits runs as the other. Resident memory is that of each program, of the node with most, before and at its highest.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from bench.cloud import pretended, programs
from bench.many import distinct, instances, ready, until
from tests.support.real_cloud import Cloud

NODES, ROOM = 3, 150
SHARES = {"ada": [90] * 10, "bob": [99], "cyd": [1]}
PASSWORD = "quiet-river-9041"
GIVEN = "quiet-river-9040"


def measure() -> dict[str, Any]:
    """Seconds, launches a second, MiB; and what was verified."""
    with ready() as (cloud, admin), pretended(cloud, ROOM // NODES, NODES) as homes:
        runs, verified = _overload(homes, admin)
    return {"runs": runs, "verified": verified}


def _resident_mib(homes: Sequence[Cloud]) -> dict[str, float]:
    found: dict[str, float] = {}
    for program, pids in ((program, pids) for home in homes for program, pids in programs(home).items()):
        lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
        found[program] = max(found.get(program, 0), sum(int(line.split()[1]) for line in lines) / 1024)
    return {p: found[p] for p in ("clc-web", "clc-relay", "cc", "nc")}


class _Watch(threading.Thread):
    """Asks for a list, a page of tasks and the counts again and again, and how long each took."""

    def __init__(self, url: str, token: str, homes: Sequence[Cloud]) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        self._homes = homes
        self._ended = threading.Event()
        self.took: list[float] = []
        self.most_mib: dict[str, float] = {}

    def run(self) -> None:
        paths = ("/api/v1/instances/", "/api/v1/tasks/?state=queued", "/api/v1/status/")
        while not self._ended.wait(0.2):
            for path in paths:
                began = time.monotonic()
                self._client.get(path).raise_for_status()
                self.took.append(time.monotonic() - began)
            self.most_mib = {p: max(m, self.most_mib.get(p, 0)) for p, m in _resident_mib(self._homes).items()}

    def end(self) -> None:
        self._ended.set()
        self.join()


def _signed_in(url: str, name: str, password: str) -> httpx.Client:
    made = httpx.post(f"{url.rstrip('/')}/api/v1/login/", json={"username": name, "password": password}).raise_for_status().json()
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {made['token']}"}, timeout=60)


def _overload(homes: Sequence[Cloud], admin: httpx.Client) -> tuple[dict[str, list[float]], dict[str, Any]]:
    url, clients = str(admin.base_url), dict[str, httpx.Client]()
    for name in SHARES:
        admin.post("/api/v1/users/", json={"username": name, "password": GIVEN, "role": "user"}).raise_for_status()
        with _signed_in(url, name, GIVEN) as first:
            first.post("/api/v1/users/me/password/", json={"password": PASSWORD, "current_password": GIVEN}).raise_for_status()
        clients[name] = _signed_in(url, name, PASSWORD)
    before = _resident_mib(homes)
    watch = _Watch(url, admin.headers["Authorization"].removeprefix("Bearer "), homes)
    watch.start()
    began = time.monotonic()
    with ThreadPoolExecutor(2) as together:
        posted = [took for each in together.map(lambda name: _asked(clients[name], name), ("ada", "bob")) for took in each]
    posted += _asked(clients["cyd"], "cyd")
    asked = time.monotonic() - began
    until(lambda: not instances(clients["cyd"], "queued,starting"), "the single one does not run")
    single = time.monotonic() - began - asked
    until(lambda: len(instances(admin, "running")) == ROOM, "it is not full", 1.0)
    full = time.monotonic() - began
    rows = instances(admin)
    verified = {f"running of {who}": n for who, n in sorted(Counter(r["owner"] for r in rows if r["state"] == "running").items())}
    waiting = [r for r in rows if r["state"] == "queued"]
    running = [r for r in rows if r["state"] == "running"]
    assert len(waiting) == sum(map(sum, SHARES.values())) - ROOM, f"{len(waiting)} wait"
    assert set(distinct(running).values()) == {ROOM}, distinct(running)
    assert set(Counter(r["host"] for r in running).values()) == {ROOM // NODES}, "three full nodes"
    assert verified["running of cyd"] == sum(SHARES["cyd"])
    shares = [verified["running of ada"], verified["running of bob"]]
    freed = _freed(admin, running)
    cancelled = _cancelled(admin, waiting[:20])
    watch.end()
    return {
        "POST, s for each run": posted, "all POSTs, s": [asked],
        "the single one of a third owner runs after, s": [single],
        f"the {ROOM} that fit run after, s": [full], "launches a second": [ROOM / full],
        "GET meanwhile, s": watch.took, "delete to the next one running, s": freed,
        "cancel of one that waits, s": cancelled,
        "most by least of two owners": [max(shares) / min(shares)], "waiting without place or reason": [float(unplaced(waiting))],
        **{f"{p}, MiB before and at most": [before[p], watch.most_mib[p]] for p in before},
        "four roles, more at most, MiB": [sum(watch.most_mib[p] - before[p] for p in before)],
    }, verified | {"waiting": len(waiting)}


def _asked(client: httpx.Client, name: str) -> list[float]:
    """Seconds of each POST of this owner, for each run that it asks for."""
    posted = []
    for n, count in enumerate(SHARES[name]):
        at = time.monotonic()
        client.post("/api/v1/instances/", json={"image": "tiny", "count": count, "name": f"{name}{n}"}).raise_for_status()
        posted.append((time.monotonic() - at) / count)
    return posted


def unplaced(waiting: Sequence[dict[str, Any]]) -> int:
    """How many of those that wait have no place of their own, or no reason."""
    places = Counter(r["queue"]["place"] for r in waiting if r["queue"] and r["queue"]["what"])
    return len(waiting) - len(set(places) & set(range(1, len(waiting) + 1)))


def _freed(admin: httpx.Client, running: list[dict[str, Any]]) -> list[float]:
    took = []
    for row in running[:5]:
        there = {r["id"] for r in instances(admin, "running")}
        began = time.monotonic()
        admin.delete(f"/api/v1/instances/{row['id']}/").raise_for_status()
        until(lambda there=there: bool({r["id"] for r in instances(admin, "running")} - there), "nobody followed", 0.05)
        took.append(time.monotonic() - began)
    return took


def _cancelled(admin: httpx.Client, waiting: list[dict[str, Any]]) -> list[float]:
    took = []
    for row in waiting:
        began = time.monotonic()
        answer = admin.post(f"/api/v1/tasks/{row['task']}/cancel/").raise_for_status().json()
        took.append(time.monotonic() - began)
        assert answer["state"] in ("cancelled", "cancelling"), answer
    return took
