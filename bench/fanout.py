"""One image to eight nodes at once, each with a cable of a classroom (94 Mbit/s), and to one alone; also with a death in the middle.

A fetches as nodes do, each told of the two before it. B is what one would pick instead: eight downloads of the packed disk from
the one server, unpacked while they come. Every result is compared byte by byte.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import disks, images, link, peers, web
from luhyaapi.contracts.specs import Blob

ROUNDS = int(os.environ.get("EDUCLOUD_BENCH_ROUNDS", "3"))
NODES, MBIT, PORT = 8, 94, 20420
DIES = 3
"""The node that is killed, from 0: five are behind it."""
Place = tuple[list[str], str]


def measure() -> dict[str, Any]:
    """Seconds and copies."""
    peers.needed("nginx", "curl", "zstd")
    with tempfile.TemporaryDirectory(prefix="edu-bench-") as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> dict[str, Any]:
    disk = disks.filled(folder, "small", 450, 350)
    store = images.opened(folder / "store")
    blob = images.keep(store, disk)
    store.close()
    subprocess.run(["zstd", "-q", "-3", "-f", disk], check=True)
    runs: dict[str, list[float]] = {}
    with link.switch(MBIT, 1 + NODES) as (server, *nodes), web.door(folder / "store", PORT, server[0]), web.files(folder, PORT + 1, server[0]):
        for _ in range(ROUNDS):
            alone, one_copy, _ = _together(folder, disk, blob, server, nodes[:1])
            images.note(runs, "1 node: A, s", alone)
            images.note(runs, "1 node: A, MB sent", one_copy / 1e6)
            took, sent, cpu = _together(folder, disk, blob, server, nodes)
            images.note(runs, "8 nodes: A, s", took)
            images.note(runs, "8 nodes: A, copies sent", sent / one_copy)
            images.note(runs, "8 nodes: A, cpu s of all nodes", cpu)
            took, sent, _ = _together(folder, disk, blob, server, nodes, dies_s=alone / 2)
            images.note(runs, "8 nodes, the fourth killed: A, s", took)
            images.note(runs, "8 nodes, the fourth killed: A, copies sent", sent / one_copy)
            images.note(runs, "8 nodes: B curl | zstd -dc, s", _naively(folder, disk, server, nodes))
    return {"runs": runs}


def _together(folder: Path, disk: Path, blob: Blob, server: Place, nodes: Sequence[Place], dies_s: float = 0.0) -> tuple[float, int, float]:
    """Seconds until the last node has it, bytes the server sent, seconds of processor of all nodes."""
    path = f"blobs/{blob.sha256}"
    members = []
    for n, (there, _) in enumerate(nodes):
        before = [f"http://{nodes[k][1]}:{PORT}/nc/api/1.0/{path}" for k in (n - 1, n - 2) if k >= 0]
        words = [folder / f"cache{n}", str(PORT), f"http://{server[1]}:{PORT}/walrus/api/1.0/{path}", blob.model_dump_json(), *before]
        members.append(subprocess.Popen(
            [*there, sys.executable, "-m", "bench.fetch_member", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ))
    try:
        for member in members:
            assert member.stdout
            member.stdout.readline()
        before_b, began = link.sent(server[0]), time.monotonic()
        for member in members:
            assert member.stdin
            member.stdin.write("go\n")
            member.stdin.flush()
        if dies_s:
            time.sleep(dies_s)
            members[DIES].kill()
        told = [json.loads(member.stdout.readline()) for member in members if member.stdout and not (dies_s and member is members[DIES])]
        took, sent = time.monotonic() - began, link.sent(server[0]) - before_b
    finally:
        for member in members:
            member.kill()
            member.wait()
    for each in told:
        images.same(disk, each["file"])
    for n in range(len(nodes)):
        shutil.rmtree(folder / f"cache{n}")
    return took, sent, sum(each["cpu_s"] for each in told)


def _naively(folder: Path, disk: Path, server: Place, nodes: Sequence[Place]) -> float:
    began = time.monotonic()
    files = [folder / f"out{n}" for n in range(len(nodes))]
    waiting = []
    for (there, _), file in zip(nodes, files, strict=True):
        curl = subprocess.Popen([*there, "curl", "-sS", f"http://{server[1]}:{PORT + 1}/{disk.name}.zst"], stdout=subprocess.PIPE)
        waiting += [curl, subprocess.Popen(["zstd", "-q", "-d", "-f", "-o", file], stdin=curl.stdout)]
    for each in waiting:
        assert each.wait() == 0
    took = time.monotonic() - began
    for file in files:
        images.same(disk, file)
        file.unlink()
    return took
