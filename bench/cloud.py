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

import httpx

from deploy.cli import contexts
from deploy.host.configs import toml
from tests.support.real_cloud import Cloud


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
    over = {
        "nc": {"hypervisor": {"driver": "fake", "cpus": room, "memory_mib": room * 1024}, "network": {"node_driver": "fake"}},
        "cc": {"network": {"driver": "fake", "subnet": "10.238.0.0/20", "display_count": 2000}},
    }
    for role, groups in over.items():
        file = home / role / f"{role}.toml"
        told = tomllib.loads(file.read_text())
        file.write_text(toml({g: told.get(g, {}) | groups.get(g, {}) for g in told | groups}))
        for pid in programs(cloud)[role]:
            os.kill(pid, signal.SIGTERM)
    assert cloud.soon(lambda: any(h["facts"].get("cpus") == room for h in cloud.json("status")["hosts"])), "the node does not pretend"
    assert cloud.soon(cloud.all_up)


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
