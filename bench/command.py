"""A command over two hops and its answer back: CLC -> CC -> NC -> CC -> CLC; beside it one hop of Celery with its result.

A is a refresh of the node: an order kept in the CLC's database with its row, posted signed to the cluster, journalled there,
given on, journalled at the node, done; the facts come back through both bosses onto the board, where their new time is read.
It begins with the POST that asks for it, so HTTP and the CLC's transaction are in it. B is ``delay().get()`` of Celery's own on the same broker, worker
and caller on this host, a transient result queue: neither a database nor a signature nor a journal is in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from celery import Celery

from bench.cloud import client_of, fresh
from deploy.host.plan import Ports
from luhyaapi.status.board import Board
from tests.support.real_cloud import BASE, ROOT, Cloud

RUNS = 60
WARM = 10
URL = "EDUCLOUD_BENCH_BROKER"
app = Celery("bench", broker=os.environ.get(URL), backend="rpc://")
app.conf.update(task_serializer="json", accept_content=["json"], worker_hijack_root_logger=False)


@app.task(name="bench.nothing")
def nothing() -> None:
    """One hop."""


def measure() -> dict[str, Any]:
    """Seconds."""
    runs: dict[str, list[float]] = {"A refresh of the node, two hops and back, s": [], "B Celery delay().get(), one hop, s": []}
    a, b = runs.values()
    with fresh() as cloud:
        cloud.host("up")
        with client_of(cloud) as client, _celery(cloud):
            node = next(h["id"] for h in client.get("/api/v1/hosts/").json()["results"] if h["role"] == "nc")
            board = Board("127.0.0.1", Ports(BASE)["memcached"], 5)
            for n in range(RUNS + WARM):
                for values, act in ((a, lambda: _refresh(client, board, node)), (b, _call)):
                    took = act()
                    if n >= WARM:
                        values.append(took)
    return {"runs": runs}


def _refresh(client: httpx.Client, board: Board, node: str) -> float:
    key = f"host:{node}"
    before = board.read([key]).get(key, {}).get("at")
    began = time.monotonic()
    client.post(f"/api/v1/hosts/{node}/refresh/").raise_for_status()
    while board.read([key]).get(key, {}).get("at") == before:
        assert time.monotonic() - began < 10, "the node did not answer"
        time.sleep(0.0005)
    return time.monotonic() - began


def _call() -> float:
    began = time.monotonic()
    nothing.delay().get(timeout=10)
    return time.monotonic() - began


@contextmanager
def _celery(cloud: Cloud) -> Iterator[None]:
    """A worker of Celery's own, on the cloud's broker, in a virtual host's default queues."""
    secret = (cloud.home / "cloud" / "clc" / "broker-password").read_text().strip()
    url = f"amqp://clc:{secret}@127.0.0.1:{Ports(BASE)['amqp']}/clc"
    app.conf.broker_url = url
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "bench.command", "worker", "-P", "threads", "-c", "1", "--loglevel", "ERROR"],
        cwd=ROOT, env={**os.environ, URL: url}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(20)
