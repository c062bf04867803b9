"""Many real guests at once on a one-host cloud: ``educloud instance run --image tiny --count 40 --json``, emulated.

Running is what the API says, up is when the guest's own web page answers with its id. Each MAC, address and display port is
verified to be there once, and that nothing is left after deleting them all.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from bench.cloud import fresh
from deploy.cli import contexts
from tests.support.real_cloud import Cloud

REAL = 40
_PATIENCE_S = 150.0


def measure() -> dict[str, Any]:
    """Seconds; and what was verified."""
    with ready() as (cloud, admin):
        runs, verified = _real(cloud, admin)
    return {"runs": runs, "verified": verified}


@contextlib.contextmanager
def ready() -> Iterator[tuple[Cloud, httpx.Client]]:
    """A cloud that has its first image, and a client of its administrator."""
    with fresh() as cloud:
        cloud.host("up")
        assert cloud.soon(lambda: any(i["versions"] for i in cloud.json("image", "list")), 60)
        current, found = contexts.load(cloud.home / "user" / ".config" / "educloud" / "config.toml")
        with httpx.Client(base_url=found[current].url, headers={"Authorization": f"Bearer {found[current].token}"}, timeout=60) as admin:
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


def until(true: Callable[[], bool], what: str, every_s: float = 0.2) -> None:
    """Wait for it; ``what`` is said when it does not come true."""
    ends = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(every_s)


def _real(cloud: Cloud, client: httpx.Client) -> tuple[dict[str, list[float]], dict[str, Any]]:
    began = time.monotonic()
    running, up = 0.0, dict[str, float]()
    with ThreadPoolExecutor(9) as pool:
        told = pool.submit(cloud.json, "instance", "run", "--image", "tiny", "--count", str(REAL), patience_s=2 * _PATIENCE_S)
        while len(up) < REAL:
            assert time.monotonic() - began < 2 * _PATIENCE_S, f"{len(up)} of {REAL} are up"
            rows = instances(client)
            if not running and len(rows) == REAL and all(r["state"] == "running" for r in rows):
                running = time.monotonic() - began
            waited = [r for r in rows if r["nics"] and r["id"] not in up]
            for row, answers in zip(waited, pool.map(_answers, waited), strict=True):
                if answers:
                    up[row["id"]] = time.monotonic() - began
            time.sleep(0.2)
        said = told.result()
    assert {i["state"] for i in said} == {"running"}
    rows = instances(client)
    assert {i["id"] for i in said} == {r["id"] for r in rows}
    verified = {"real": len(rows), **distinct(rows)}
    assert set(verified.values()) == {REAL}, verified
    for row in rows:
        client.delete(f"/api/v1/instances/{row['id']}/").raise_for_status()
    deleting = time.monotonic()
    until(lambda: not instances(client), "they are not deleted")
    return {
        f"{REAL} real: all running, s": [running or max(up.values())],
        f"{REAL} real: up, s": sorted(up.values()), f"{REAL} real: all deleted, s": [time.monotonic() - deleting],
    }, verified


def _answers(row: dict[str, Any]) -> bool:
    try:
        return httpx.get(f"http://{row['nics'][0]['ip']}/", timeout=1).text.startswith(row["id"])
    except httpx.HTTPError:
        return False
