"""Many at once, on a one-host cloud of real processes: 40 guests for real, then 1,000 pretended ones of three owners where 300 fit.

Real: one POST for 40 of ``tiny``; running is what the API says, up is when the guest's own web page answers with its id. Each
MAC, address and display port is verified to be there once. Pretended: NC and CC of the same cloud with the fake drivers, the
rest as before; ten requests of one owner for 90 each, one for 99 and one for 1, then a list, a page and the single one's task
are asked for again and again until nothing moves. Resident memory is that of each program, at its highest.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from bench.cloud import fresh
from deploy.cli import contexts
from deploy.host.configs import toml
from tests.support.real_cloud import Cloud

REAL, ROOM = 40, 300
SHARES = {"ada": [90] * 10, "bob": [99], "cyd": [1]}
PASSWORD = "quiet-river-9041"
_PATIENCE_S = 150.0


def measure() -> dict[str, Any]:
    """Seconds, launches a second, MiB; and what was verified."""
    with fresh() as cloud:
        cloud.host("up")
        assert cloud.soon(lambda: any(i["versions"] for i in cloud.json("image", "list")), 60)
        current, found = contexts.load(cloud.home / "user" / ".config" / "educloud" / "config.toml")
        with httpx.Client(base_url=found[current].url, headers={"Authorization": f"Bearer {found[current].token}"}, timeout=60) as admin:
            runs, verified = _real(admin)
            _pretend(cloud)
            more, seen = _overload(cloud, admin)
    return {"runs": runs | more, "verified": verified | seen}


def _instances(client: httpx.Client, state: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    url = f"/api/v1/instances/?limit=200{f'&state={state}' if state else ''}"
    while url:
        page = client.get(url).raise_for_status().json()
        found, url = found + page["results"], page["next"]
    return found


def _distinct(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many different MACs, addresses and ports there are; each machine has one of each."""
    cards = [n for r in rows for n in r["nics"]]
    return {"macs": len({c["mac"] for c in cards}), "addresses": len({c["ip"] for c in cards}), "ports": len({r["display"]["port"] for r in rows})}


def _until(true: Callable[[], bool], what: str, every_s: float = 0.2) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < until, what
        time.sleep(every_s)


# ---- real guests


def _real(client: httpx.Client) -> tuple[dict[str, list[float]], dict[str, Any]]:
    began = time.monotonic()
    client.post("/api/v1/instances/", json={"image": "tiny", "count": REAL}).raise_for_status()
    answered = time.monotonic() - began
    running, up = 0.0, dict[str, float]()
    with ThreadPoolExecutor(8) as pool:
        while len(up) < REAL:
            assert time.monotonic() - began < 2 * _PATIENCE_S, f"{len(up)} of {REAL} are up"
            rows = _instances(client)
            if not running and all(r["state"] == "running" for r in rows):
                running = time.monotonic() - began
            waited = [r for r in rows if r["nics"] and r["id"] not in up]
            for row, answers in zip(waited, pool.map(_answers, waited), strict=True):
                if answers:
                    up[row["id"]] = time.monotonic() - began
            time.sleep(0.2)
    rows = _instances(client)
    verified = {"real": len(rows), **_distinct(rows)}
    assert set(verified.values()) == {REAL}, verified
    for row in rows:
        client.delete(f"/api/v1/instances/{row['id']}/").raise_for_status()
    deleting = time.monotonic()
    _until(lambda: not _instances(client), "they are not deleted")
    return {
        f"{REAL} real: POST answered, s": [answered], f"{REAL} real: all running, s": [running or max(up.values())],
        f"{REAL} real: up, s": sorted(up.values()), f"{REAL} real: all deleted, s": [time.monotonic() - deleting],
    }, verified


def _answers(row: dict[str, Any]) -> bool:
    try:
        return httpx.get(f"http://{row['nics'][0]['ip']}/", timeout=1).text.startswith(row["id"])
    except httpx.HTTPError:
        return False


# ---- pretended ones


def _pretend(cloud: Cloud) -> None:
    """CC and NC begin again with fake drivers and room for so many."""
    home = Path(cloud.environ["EDUCLOUD_HOME"])
    over = {
        "nc": {"hypervisor": {"driver": "fake", "cpus": ROOM, "memory_mib": ROOM * 1024}, "network": {"node_driver": "fake"}},
        "cc": {"network": {"driver": "fake", "subnet": "10.238.0.0/20", "display_count": 2000}},
    }
    for role, groups in over.items():
        file = home / role / f"{role}.toml"
        told = tomllib.loads(file.read_text())
        file.write_text(toml({g: told.get(g, {}) | groups.get(g, {}) for g in told | groups}))
        for pid in _programs(cloud)[role]:
            os.kill(pid, signal.SIGTERM)
    _until(lambda: any(h["facts"].get("cpus") == ROOM for h in cloud.json("status")["hosts"]), "the node does not pretend")
    assert cloud.soon(cloud.all_up)


def _programs(cloud: Cloud) -> dict[str, list[int]]:
    """The processes of each program of this cloud."""
    found: dict[str, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = dict(w.split(b"=", 1) for w in (process / "environ").read_bytes().split(b"\0") if b"=" in w)
        except OSError:
            continue
        if words.get(b"EDUCLOUD_HOME") == cloud.environ["EDUCLOUD_HOME"].encode() and b"EDUCLOUD_PROGRAM" in words:
            found.setdefault(words[b"EDUCLOUD_PROGRAM"].decode(), []).append(int(process.name))
    return found


def _resident_mib(cloud: Cloud) -> dict[str, float]:
    found = {}
    for program, pids in _programs(cloud).items():
        lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
        found[program] = sum(int(line.split()[1]) for line in lines) / 1024
    return {p: found[p] for p in ("clc-web", "clc-relay", "cc", "nc")}


class _Watch(threading.Thread):
    """Asks for a list, a page of tasks and the counts again and again, and how long each took."""

    def __init__(self, url: str, token: str, cloud: Cloud) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        self._cloud = cloud
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
            self.most_mib = {p: max(m, self.most_mib.get(p, 0)) for p, m in _resident_mib(self._cloud).items()}

    def end(self) -> None:
        self._ended.set()
        self.join()


def _overload(cloud: Cloud, admin: httpx.Client) -> tuple[dict[str, list[float]], dict[str, Any]]:
    url, clients = str(admin.base_url), dict[str, httpx.Client]()
    for name in SHARES:
        admin.post("/api/v1/users/", json={"username": name, "password": PASSWORD, "role": "user"}).raise_for_status()
        token = admin.post("/api/v1/login/", json={"username": name, "password": PASSWORD}).raise_for_status().json()["token"]
        clients[name] = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
    before = _resident_mib(cloud)
    watch = _Watch(url, admin.headers["Authorization"].removeprefix("Bearer "), cloud)
    watch.start()
    began, posted = time.monotonic(), list[float]()
    for name, counts in SHARES.items():
        for n, count in enumerate(counts):
            at = time.monotonic()
            body = {"image": "tiny", "count": count, "name": f"{name}{n}"}
            clients[name].post("/api/v1/instances/", json=body).raise_for_status()
            posted.append((time.monotonic() - at) / count)
    asked = time.monotonic() - began
    _until(lambda: not _instances(clients["cyd"], "queued,starting"), "the single one does not run")
    single = time.monotonic() - began - asked
    _until(lambda: len(_instances(admin, "running")) == ROOM, "it is not full", 1.0)
    full = time.monotonic() - began
    rows = _instances(admin)
    verified = {f"running of {who}": n for who, n in sorted(Counter(r["owner"] for r in rows if r["state"] == "running").items())}
    waiting = [r for r in rows if r["state"] == "queued"]
    places = {r["queue"]["place"] for r in waiting if r["queue"]}
    assert places == set(range(1, sum(map(sum, SHARES.values())) - ROOM + 1)), "each that waits has a place of its own"
    running = [r for r in rows if r["state"] == "running"]
    assert set(_distinct(running).values()) == {ROOM}, _distinct(running)
    freed = _freed(admin, running)
    cancelled = _cancelled(admin, waiting[:20])
    watch.end()
    return {
        "1,000 fake: POST, s for each run": posted, "1,000 fake: all POSTs, s": [asked],
        "1,000 fake: the single one of a third owner runs after, s": [single],
        f"1,000 fake: the {ROOM} that fit run after, s": [full], "1,000 fake: launches a second": [ROOM / full],
        "1,000 fake: GET meanwhile, s": watch.took, "1,000 fake: delete to the next one running, s": freed,
        "1,000 fake: cancel of one that waits, s": cancelled,
        **{f"1,000 fake: {p}, MiB before and at most": [before[p], watch.most_mib[p]] for p in before},
    }, verified | {"waiting": len(waiting)}


def _freed(admin: httpx.Client, running: list[dict[str, Any]]) -> list[float]:
    took = []
    for row in running[:5]:
        there = {r["id"] for r in _instances(admin, "running")}
        began = time.monotonic()
        admin.delete(f"/api/v1/instances/{row['id']}/").raise_for_status()
        _until(lambda there=there: bool({r["id"] for r in _instances(admin, "running")} - there), "nobody followed", 0.05)
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
