"""Packing an image and unpacking it: into the block store, synced, and out of it again on the same machine.

Disks are file systems of this machine's own programs: 450 MiB full, and 8 GiB with 1 GiB in it. B is what one would pick
instead: zstd, gzip, bzip2, qemu-img. All that is unpacked is compared byte by byte. Files are in the page cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import disks, images, peers, web
from bench.link import cable

ROUNDS = int(os.environ.get("EDUCLOUD_BENCH_ROUNDS", "3"))
PORT = 20370
SLOW = ("bzip2 -3", "gzip -6")
"""Minutes, and always the same: once."""


def measure() -> dict[str, Any]:
    """Seconds."""
    peers.needed("zstd", "bzip2", "gzip", "qemu-img")
    runs: images.Runs = {}
    with tempfile.TemporaryDirectory(prefix="edu-bench-") as made, cable(0) as (there, here):
        folder = Path(made)
        for disk in (disks.filled(folder, "450 MiB", 450, 350), disks.filled(folder, "8 GiB", 8192, 1000)):
            _others(disk, folder, runs)
            for _ in range(ROUNDS):
                store = images.opened(folder / "store")
                sha256 = images.sha256_of(disk)
                began = time.monotonic()
                blob = images.keep(store, disk, sha256)
                images.note(runs, f"pack {disk.stem}: A, s", time.monotonic() - began)
                images.note(runs, f"pack {disk.stem}: A, MB", store.used() / 1e6)
                store.close()
                with web.door(folder / "store", PORT, there):
                    said = images.fetch(folder / "cache", blob, PORT, here)
                images.note(runs, f"unpack {disk.stem}: A, s", said["s"])
                images.same(disk, said["file"])
                images.note(runs, f"unpack {disk.stem}: A, allocated of what was", Path(said["file"]).stat().st_blocks / disk.stat().st_blocks)
                shutil.rmtree(folder / "store")
                shutil.rmtree(folder / "cache")
            disk.unlink()
    return {"runs": runs}


def _others(disk: Path, folder: Path, runs: images.Runs) -> None:
    packed, out = folder / "packed", folder / "out"
    ways: dict[str, tuple[list[str | Path], list[str | Path]]] = {
        "zstd -3": (["zstd", "-q", "-3", "-c", disk], ["zstd", "-q", "-dc", "--sparse", "-o", out, packed]),
        "gzip -6": (["gzip", "-6", "-c", disk], ["gzip", "-dc", packed]),
        "bzip2 -3": (["bzip2", "-3", "-c", disk], ["bzip2", "-dc", packed]),
        "qemu-img convert -c": (["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", disk, packed],
                                ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", packed, out]),
    }
    for peer, both in ways.items():
        for _ in range(1 if peer in SLOW else ROUNDS):
            for what, words, into in (("pack", both[0], packed), ("unpack", both[1], out)):
                into.unlink(missing_ok=True)
                writes_itself = into in words
                began = time.monotonic()
                if writes_itself:
                    subprocess.run(words, check=True)
                else:
                    with into.open("wb") as file:
                        subprocess.run(words, stdout=file, check=True)
                images.note(runs, f"{what} {disk.stem}: B {peer}, s", time.monotonic() - began)
            images.same(disk, out)
            packed.unlink()
            out.unlink()
