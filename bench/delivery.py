"""The first delivery of an image to a node: over the cable of a classroom (94 Mbit/s), of a server room (940), and as fast as it goes.

A fetches as a node does, each block checked before it is written. B is what one would pick instead: curl of the plain file, of a
packed one unpacked while it comes, rsync. Every result is compared byte by byte. Files are in the page cache of both ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import disks, images, peers, web
from bench.link import SERVER, cable
from luhyaapi.contracts.specs import Blob

ROUNDS = int(os.environ.get("EDUCLOUD_BENCH_ROUNDS", "3"))
PORT = 20380
PEERS = {"curl": ("", ["cat"]), "curl | bzip2 -dc": (".bz2", ["bzip2", "-dc"]), "curl | zstd -dc": (".zst", ["zstd", "-q", "-dc"])}
"""Peer -> the end of the name of its file, what unpacks it."""
ONCE, NEVER = "8 GiB", ("8 GiB", 94, "curl")
"""Peers of this disk are measured once: they take minutes. That one takes twelve, and the cable says how many."""


def measure() -> dict[str, Any]:
    """Seconds and bytes."""
    peers.needed("nginx", "curl", "zstd", "bzip2", "rsync")
    runs: images.Runs = {}
    with tempfile.TemporaryDirectory(prefix="edu-bench-") as made:
        folder = Path(made)
        store = images.opened(folder / "store")
        blobs = {disk: images.keep(store, disk) for disk in (disks.filled(folder, "450 MiB", 450, 350), disks.filled(folder, "8 GiB", 8192, 1000))}
        store.close()
        for disk in blobs:
            subprocess.run(["zstd", "-q", "-3", "-k", disk], check=True)
            subprocess.run(["bzip2", "-3", "-k", disk], check=True)
        for mbit in (94, 940, 0):
            with cable(mbit) as ends, web.door(folder / "store", PORT, ends[0]) as door, web.files(folder, PORT + 1, ends[0]), \
                    web.rsync(folder, PORT + 2, ends[0]):
                for disk, blob in blobs.items():
                    _deliver(disk, blob, mbit, ends[1], folder, runs)
                images.note(runs, f"{_cable(mbit)}: A, MiB of memory of the server", web.memory_mib(door))
    return {"runs": runs}


def _deliver(disk: Path, blob: Blob, mbit: int, here: Sequence[str], folder: Path, runs: images.Runs) -> None:
    what, out = f"{disk.stem}, {_cable(mbit)}", folder / "out"
    for number in range(ROUNDS):
        said = images.fetch(folder / "cache", blob, PORT, here)
        images.note(runs, f"{what}: A, s", said["s"])
        images.note(runs, f"{what}: A, MB", said["bytes"] / 1e6)
        images.note(runs, f"{what}: A, cpu s of the node", said["cpu_s"])
        images.note(runs, f"{what}: A, MiB of memory of the node", said["kib"] / 1024)
        images.same(disk, said["file"])
        shutil.rmtree(folder / "cache")
        for peer, (tail, unpack) in PEERS.items():
            if (disk.stem, mbit, peer) == NEVER or (number and disk.stem == ONCE):
                continue
            url = f"http://{SERVER}:{PORT + 1}/{disk.name.replace(' ', '%20')}{tail}"
            began = time.monotonic()
            with out.open("wb") as file:
                curl = subprocess.Popen([*here, "curl", "-sS", url], stdout=subprocess.PIPE)
                subprocess.run(unpack, stdin=curl.stdout, stdout=file, check=True)
                assert curl.wait() == 0
            images.note(runs, f"{what}: B {peer}, s", time.monotonic() - began)
            images.same(disk, out)
            out.unlink()
        if number == 0:
            began = time.monotonic()
            subprocess.run([*here, "rsync", "-S", "-z", f"rsync://{SERVER}:{PORT + 2}/all/{disk.name}", out], check=True)
            images.note(runs, f"{what}: B rsync -S -z, s", time.monotonic() - began)
            images.same(disk, out)
            out.unlink()


def _cable(mbit: int) -> str:
    return f"{mbit} Mbit/s" if mbit else "no limit"
