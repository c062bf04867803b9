"""1,000 launches by four clients, one POST each, on a one-host cloud of real processes with pretended guests that all fit.

A launch is over when the API says that it runs; counted from the first POST to the last one running. Each has a MAC, an address
and a port of its own, which is verified. What a launch costs is the processor time of the roles' processes, divided.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from bench.cloud import client_of, pretend, programs
from bench.many import distinct, instances, ready
from tests.support.real_cloud import Cloud

COUNT, CLIENTS = 1000, 4
_PATIENCE_S = 500.0
_ROLES = ("clc-web", "clc-relay", "cc", "nc")


def measure() -> dict[str, Any]:
    """Launches a second, seconds of a POST, cpu ms of a launch in each role."""
    with ready() as (cloud, admin):
        pretend(cloud, COUNT)
        posts: list[float] = []
        runs: dict[str, list[float]] = {}
        began = time.monotonic()
        with _cpu_ms(cloud, runs):
            with ThreadPoolExecutor(CLIENTS) as pool:
                for took in pool.map(_post, [cloud] * CLIENTS, [COUNT // CLIENTS] * CLIENTS):
                    posts += took
            asked = time.monotonic() - began
            rows = _all_running(admin)
        took_s = time.monotonic() - began
        verified = distinct(rows)
        assert set(verified.values()) == {COUNT}, verified
    runs = {"launches a second": [COUNT / took_s], "all POSTs, s": [asked], "one POST, s": posts, **runs}
    return {"runs": runs, "verified": verified}


def _post(cloud: Cloud, count: int) -> list[float]:
    took = []
    with client_of(cloud) as client:
        for _ in range(count):
            at = time.monotonic()
            client.post("/api/v1/instances/", json={"image": "tiny"}).raise_for_status()
            took.append(time.monotonic() - at)
    return took


def _all_running(admin: httpx.Client) -> list[dict[str, Any]]:
    until = time.monotonic() + _PATIENCE_S
    # the queue tells of those that wait or begin: as long as there is one, there is no need to read all
    while admin.get("/api/v1/instances/?state=queued,starting&limit=1").raise_for_status().json()["results"]:
        assert time.monotonic() < until, "they do not all run"
        time.sleep(0.5)
    rows = instances(admin, "running")
    assert len(rows) == COUNT, f"{len(rows)} of {COUNT} run"
    return rows


@contextmanager
def _cpu_ms(cloud: Cloud, runs: dict[str, list[float]]) -> Iterator[None]:
    def used() -> dict[str, float]:
        return {p: sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids) for p, pids in programs(cloud).items() if p in _ROLES}

    before = used()
    yield
    runs |= {f"{program}, cpu ms a launch": [(now - before[program]) / COUNT * 1e3] for program, now in used().items()}
