"""A real one-host cloud for a benchmark, on ports of its own, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from deploy.cli import contexts
from deploy.host.configs import toml
from deploy.host.plan import Ports
from tests.support.real_cloud import BASE, Cloud

_PORTS_APART = 20


@contextlib.contextmanager
def fresh() -> Iterator[Cloud]:
    """A cloud that is not up yet."""
    home = Path(tempfile.mkdtemp(prefix="edu-bench-"))
    home.chmod(0o755)
    cloud = Cloud(home)
    try:
        yield cloud
    finally:
        cloud.host("reset")
        shutil.rmtree(home)


def client_of(cloud: Cloud) -> httpx.Client:
    """The API as the cloud's administrator."""
    current, found = contexts.load(cloud.home / "user" / ".config" / "educloud" / "config.toml")
    entry = found[current]
    return httpx.Client(base_url=entry.url, headers={"Authorization": f"Bearer {entry.token}"}, timeout=60)


def pretend(cloud: Cloud, room: int) -> None:
    """CC and NC of a cloud that is up begin again with fake drivers and room for so many guests."""
    home = Path(cloud.environ["EDUCLOUD_HOME"])
    over = {"nc": _pretended_node(room), "cc": {"network": {"driver": "fake", "subnet": "10.238.0.0/20", "display_count": 2000}}}
    for role, groups in over.items():
        file = home / role / f"{role}.toml"
        told = tomllib.loads(file.read_text())
        file.write_text(toml({g: told.get(g, {}) | groups.get(g, {}) for g in told | groups}))
        for pid in programs(cloud)[role]:
            os.kill(pid, signal.SIGTERM)
    assert cloud.soon(lambda: _pretending(cloud, room) == 1), "the node does not pretend"
    assert cloud.soon(cloud.all_up)


@contextlib.contextmanager
def pretended(cloud: Cloud, room: int, nodes: int) -> Iterator[list[Cloud]]:
    """The same with so many nodes of that room: its own, and others that join it from homes of their own. The homes, the cloud's first."""
    pretend(cloud, room)
    with contextlib.ExitStack() as stack:
        homes = [cloud, *(stack.enter_context(_joined(cloud, number, room)) for number in range(1, nodes))]
        assert cloud.soon(lambda: _pretending(cloud, room) == nodes), "not all nodes have joined"
        yield homes


@contextlib.contextmanager
def _joined(cloud: Cloud, number: int, room: int) -> Iterator[Cloud]:
    folder = cloud.home / f"node{number}"
    folder.mkdir(mode=0o755)
    node = Cloud(folder)
    own = folder / "cloud" / "nc"
    own.mkdir()
    (own / "nc.local.toml").write_text(toml(_pretended_node(room)))
    node.environ |= {
        "EDUCLOUD_PORT_BASE": str(BASE + number * _PORTS_APART), "ROLE": "nc", "BOSS": f"http://127.0.0.1:{Ports(BASE)['cc_door']}",
        "TOKEN": cloud.json("host", "token", "--role", "nc")["token"],
    }
    try:
        node.host("join")
        yield node
    finally:
        node.host("reset")


def _pretended_node(room: int) -> dict[str, dict[str, Any]]:
    return {"hypervisor": {"driver": "fake", "cpus": room, "memory_mib": room * 1024}, "network": {"node_driver": "fake"}}


def _pretending(cloud: Cloud, room: int) -> int:
    return sum(h["facts"].get("cpus") == room and h["state"] == "up" for h in cloud.json("status")["hosts"])


def programs(cloud: Cloud) -> dict[str, list[int]]:
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
