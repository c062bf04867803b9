"""How long ``make up`` takes once its packages are there: from nothing, from stopped, on a running cloud; and ``down``.

While it comes up from stopped, a second look each 20 ms says when the broker took connections and when the last of the five
roles said that it is ready: the difference is what our roles add to the broker's own start. B is RabbitMQ alone, on ports of
its own while the cloud is down, with its accounts as we make them there, until it takes connections; in turn with A. After a
minute of rest each program's memory is read (PSS: what is shared is shared out) and what the node used of a processor.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Self

import httpx
import psutil

from bench.cloud import fresh
from deploy.host.plan import Ports
from tests.support import private_broker
from tests.support.real_cloud import BASE, Cloud

RUNS = 3
REST_S = 60.0
DOORS = ("console", "clc_door", "walrus_door", "cc_door", "nc_door", "sc_door")
_ALONE = BASE + 600
MIB = 1024 * 1024


def measure() -> dict[str, Any]:
    """Seconds, whole process; MiB of each program."""
    runs: dict[str, list[float]] = defaultdict(list)

    def timed(what: str, verb: str) -> None:
        began = time.monotonic()
        cloud.host(verb)
        runs[what].append(time.monotonic() - began)

    with fresh() as cloud:
        timed("up from nothing, s", "up")
        for _ in range(RUNS):
            timed("up again, s", "up")
            timed("down, s", "down")
            with contextlib.redirect_stdout(sys.stderr), _Watch(Ports(_ALONE)) as alone, private_broker.services(str(_ALONE), "clc"):
                alone.end()
            runs["B RabbitMQ alone takes connections, s"].append(alone.broker_s)
            with _Watch(Ports(BASE), DOORS) as watch:
                timed("up from stopped, s", "up")
                watch.end()
            runs["broker takes connections, s"].append(watch.broker_s)
            runs["every role is ready, s"].append(watch.ready_s)
            runs["every role is ready, more than RabbitMQ alone, s"].append(watch.ready_s - alone.broker_s)
            runs["five roles after the broker, s"].append(watch.ready_s - watch.broker_s)
            assert cloud.soon(cloud.all_up)
        _rest(cloud, runs)
    return {"runs": dict(runs)}


class _Watch:
    """Looks, from its beginning on, for the broker's port and for every door that says it is ready."""

    def __init__(self, ports: Ports, doors: Sequence[str] = ()) -> None:
        self._ports, self._doors = ports, doors

    def __enter__(self) -> Self:
        self.broker_s = self.ready_s = 0.0
        self._given_up = False
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up = True
        self._thread.join()

    def end(self) -> None:
        """All has been seen. Raises AssertionError otherwise."""
        self._thread.join(60)
        assert self.ready_s, "not all was ready"

    def _look(self) -> None:
        while not self._given_up and not _listens(self._ports["amqp"]):
            time.sleep(0.02)
        self.broker_s = time.monotonic() - self._began
        with httpx.Client(timeout=2) as client:
            waiting = list(self._doors)
            while waiting and not self._given_up:
                waiting = [name for name in waiting if not _is_ready(client, self._ports[name])]
                time.sleep(0.02)
        self.ready_s = 0.0 if self._given_up else time.monotonic() - self._began


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(client: httpx.Client, port: int) -> bool:
    try:
        return client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _rest(cloud: Cloud, runs: dict[str, list[float]]) -> None:
    pid = int((cloud.home / "cloud" / "supervisor" / "supervisor.pid").read_text())
    programs = {p.pid: _name(p) for p in psutil.Process(pid).children(recursive=True)}
    node = next(psutil.Process(pid) for pid, name in programs.items() if name == "nc")
    before = sum(node.cpu_times()[:2])
    time.sleep(REST_S)
    runs["the node at rest, % of a processor"] = [(sum(node.cpu_times()[:2]) - before) / REST_S * 100]
    of: dict[str, float] = defaultdict(float)
    for pid, name in programs.items():
        if psutil.pid_exists(pid):
            of[name] += psutil.Process(pid).memory_full_info().pss / MIB
    roles = ("clc-web", "clc-relay", "walrus", "cc", "nc", "sc")
    for name, value in sorted(of.items(), key=lambda item: -item[1]):
        runs[f"{name}, MiB"] = [value]
    runs["five roles, MiB"] = [sum(of[name] for name in roles)]
    runs["whole, MiB"] = [sum(of.values())]


def _name(process: psutil.Process) -> str:
    """What a program of the cloud is called: our own by their argument, the others by their file."""
    words = process.cmdline()
    return words[words.index("deploy.processes") + 1] if "deploy.processes" in words else process.name()
