"""The next version of an image to a node that has the one before, over the cable of a classroom (94 Mbit/s).

A disk of 450 MiB in four next versions: files rewritten and new ones (about 10 MB), a log grown, a package installed again, all
files in other places. A fetches as a node does: what it has is copied and checked, the rest comes. B is what one would pick instead:
rsync into a copy of the old one; casync, zsync, zstd of the whole. Every result is compared byte by byte.
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
from bench.link import SERVER, cable, received
from luhyaapi.contracts.specs import Blob

ROUNDS = int(os.environ.get("EDUCLOUD_BENCH_ROUNDS", "3"))
PORT, MBIT = 20390, 94


def measure() -> dict[str, Any]:
    """Seconds and bytes."""
    peers.needed("nginx", "curl", "zstd", "rsync", "casync", "zsyncmake")
    runs: images.Runs = {}
    with tempfile.TemporaryDirectory(prefix="edu-bench-") as made:
        folder = Path(made)
        old = disks.grown(disks.filled(folder, "old", 450, 300), folder)
        newer = disks.versions(old, folder)
        store = images.opened(folder / "store")
        blobs = {disk: images.keep(store, disk) for disk in (old, *newer.values())}
        store.close()
        with cable(MBIT) as ends, web.door(folder / "store", PORT, ends[0]), web.files(folder, PORT + 1, ends[0]), \
                web.rsync(folder, PORT + 2, ends[0]):
            for what, new in newer.items():
                for _ in range(ROUNDS):
                    _ours(what, blobs[old], new, blobs[new], ends[1], folder, runs)
                    _rsync(what, old, new, ends[1], folder, runs)
                _others(what, old, new, ends[1], folder, runs)
    return {"runs": runs}


def _ours(what: str, old: Blob, new: Path, blob: Blob, here: Sequence[str], folder: Path, runs: images.Runs) -> None:
    images.fetch(folder / "cache", old, PORT, here)
    said = images.fetch(folder / "cache", blob, PORT, here)
    images.note(runs, f"{what}: A, s", said["s"])
    images.note(runs, f"{what}: A, MB", said["bytes"] / 1e6)
    images.note(runs, f"{what}: A, cpu s of the node", said["cpu_s"])
    images.same(new, said["file"])
    shutil.rmtree(folder / "cache")


def _rsync(what: str, old: Path, new: Path, here: Sequence[str], folder: Path, runs: images.Runs) -> None:
    shutil.copyfile(old, folder / "out")
    words = ["rsync", "-z", "--no-whole-file", "--inplace", "--ignore-times", f"rsync://{SERVER}:{PORT + 2}/all/{new.name}", folder / "out"]
    _timed(runs, f"{what}: B rsync -z", here, words, folder)
    images.same(new, folder / "out")


def _others(what: str, old: Path, new: Path, here: Sequence[str], folder: Path, runs: images.Runs) -> None:
    """Once: they take long, and always the same."""
    files = f"http://{SERVER}:{PORT + 1}"
    subprocess.run(["zsyncmake", "-o", folder / "new.zsync", "-u", new.name, new], check=True, capture_output=True)
    subprocess.run(["casync", "make", f"--store={folder / 'new.castr'}", folder / "new.caibx", new], check=True, capture_output=True)
    subprocess.run(["zstd", "-q", "-3", "-f", "-o", folder / "new.zst", new], check=True)
    fetched = {
        "zsync": ["zsync", "-q", "-i", old, "-o", folder / "out", f"{files}/new.zsync"],
        "casync": ["casync", "extract", f"--store={files}/new.castr", f"--seed={old}", f"{files}/new.caibx", folder / "out"],
        "curl | zstd -dc": ["sh", "-c", 'curl -sS "$0" | zstd -q -dc > "$1"', f"{files}/new.zst", folder / "out"],
    }
    for peer, words in fetched.items():
        (folder / "out").unlink(missing_ok=True)
        _timed(runs, f"{what}: B {peer}", here, words, folder)
        images.same(new, folder / "out")
    shutil.rmtree(folder / "new.castr")


def _timed(runs: images.Runs, what: str, here: Sequence[str], words: Sequence[str | Path], folder: Path) -> None:
    before, began = received(here), time.monotonic()
    done = subprocess.run([*here, *words], check=False, capture_output=True, cwd=folder)
    assert done.returncode == 0, f"{words[0]}: {done.stderr.decode(errors='replace')[-2000:]}"
    images.note(runs, f"{what}, s", time.monotonic() - began)
    images.note(runs, f"{what}, MB", (received(here) - before) / 1e6)
