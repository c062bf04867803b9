"""Images in, along the tree and up to date: packing, the first delivery over a cable of a classroom and of a server room, an update.

Disks are file systems of this machine's own programs: 450 MiB full, and 8 GiB with 1 GiB in it. A packs into the block store
(with fsync) and fetches as a node does, each block verified; B is what one would pick instead: zstd, bzip2, qemu-img; curl of
the plain file and of a packed one unpacked while it comes; rsync. Every result is compared byte by byte. Files are in the page cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import disks, packing, peers, web
from bench.link import SERVER, cable, received
from luhyaapi.contracts.specs import Blob

ROUNDS = int(os.environ.get("EDUCLOUD_BENCH_ROUNDS", "3"))
PORT = 20380
Runs = dict[str, list[float]]


def measure() -> dict[str, Any]:
    """Seconds and bytes; ratio of the medians."""
    peers.needed("nginx", "curl", "zstd", "bzip2", "rsync", "casync", "zsyncmake", "debugfs")
    with tempfile.TemporaryDirectory(prefix="edu-bench-") as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> dict[str, Any]:
    runs: Runs = {}
    small, large = disks.filled(folder, "small", 450, 350), disks.filled(folder, "large", 8192, 1000)
    newer = disks.changed(small, folder)
    for disk in (small, large):
        _pack(disk, folder, runs)
    store = packing.opened(folder / "store")
    blobs = {disk: keep(store, disk) for disk in (small, newer, large)}
    store.close()
    for words in (["zstd", "-q", "-3", "-f", small], ["bzip2", "-3", "-k", "-f", small]):
        subprocess.run(words, check=True)
    for mbit in (94, 940):
        with cable(mbit) as ends, web.door(folder / "store", PORT, ends[0]), web.files(folder, PORT + 1, ends[0]):
            _deliver(small, blobs[small], mbit, ends[1], folder, runs)
            if mbit == 94:
                _update(small, newer, blobs, ends, folder, runs)
                _update_by_others(small, newer, ends[1], folder, runs)
    middle = {what: statistics.median(values) for what, values in runs.items()}
    ratios = {
        "pack 8 GiB: bzip2 -3 / A": middle["pack large: B bzip2 -3, s"] / middle["pack large: A, s"],
        "pack 8 GiB: zstd -3 / A": middle["pack large: B zstd -3, s"] / middle["pack large: A, s"],
        **{f"first delivery, {m} Mbit/s: {peer} / A": middle[f"deliver {m}: B {peer}, s"] / middle[f"deliver {m}: A, s"]
           for m in (94, 940) for peer in ("curl raw", "curl | bzip2 -dc", "curl | zstd -dc")},
        **{f"update: {peer} / A, s": middle[f"update: B {peer}, s"] / middle["update: A, s"] for peer in ("casync", "zsync")},
        "update: bytes, A / rsync -z": middle["update: A, MB"] / middle["update: B rsync -z, MB"],
        "update: s, A / rsync -z": middle["update: A, s"] / middle["update: B rsync -z, s"],
    }
    return {"runs": runs, "ratios": ratios}


def _note(runs: Runs, what: str, value: float) -> None:
    print(f"{what}: {value:.2f}", file=sys.stderr, flush=True)  # it takes long
    runs.setdefault(what, []).append(value)


def keep(store: Any, disk: Path) -> Blob:
    """Have the store keep a disk; what it is called there."""
    with disk.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(part="disk", sha256=sha256, index=store.add(disk, sha256).index.name, size=disk.stat().st_size)


def _pack(disk: Path, folder: Path, runs: Runs) -> None:
    others = {"zstd -3": ["zstd", "-q", "-3", "-f", "-o", folder / "packed", disk], "bzip2 -3": ["bzip2", "-3", "-k", "-c", disk],
             "qemu-img convert -c": ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", disk, folder / "packed"]}
    for number in range(ROUNDS):
        store = packing.opened(folder / f"trial{number}")
        began = time.monotonic()
        index = store.add(disk, "a" * 64).index
        _note(runs, f"pack {disk.stem}: A, s", time.monotonic() - began)
        _note(runs, f"pack {disk.stem}: A, MB", store.used() / 1e6)
        began = time.monotonic()
        found = hashlib.sha256()
        for piece in store.read("a" * 64, 0, index.size):
            found.update(piece)
        with disk.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").digest() == found.digest()
        store.close()
        shutil.rmtree(folder / f"trial{number}")
        for peer, words in others.items():
            if number and peer == "bzip2 -3":
                continue  # minutes, and always the same
            with (folder / "out").open("wb") as out:
                began = time.monotonic()
                subprocess.run(words, stdout=out, check=True)
                _note(runs, f"pack {disk.stem}: B {peer}, s", time.monotonic() - began)
            (folder / "packed").unlink(missing_ok=True)


def _deliver(disk: Path, blob: Blob, mbit: int, here: Sequence[str], folder: Path, runs: Runs) -> None:
    base = f"http://{SERVER}:{PORT + 1}/{disk.name}"
    others = {"curl raw": ("", ["cat"]), "curl | bzip2 -dc": (".bz2", ["bzip2", "-dc"]), "curl | zstd -dc": (".zst", ["zstd", "-q", "-dc"])}
    for _ in range(ROUNDS):
        said = _fetch(folder / "cache", blob, here)
        _note(runs, f"deliver {mbit}: A, s", said["s"])
        _note(runs, f"deliver {mbit}: A, MB", said["bytes"] / 1e6)
        _note(runs, f"deliver {mbit}: A, cpu s of the node", said["cpu_s"])
        _note(runs, f"deliver {mbit}: A, MiB of memory", said["kib"] / 1024)
        same(disk, said["file"])
        shutil.rmtree(folder / "cache")
        for peer, (tail, unpack) in others.items():
            began = time.monotonic()
            with (folder / "out").open("wb") as out:
                curl = subprocess.Popen([*here, "curl", "-sS", base + tail], stdout=subprocess.PIPE)
                subprocess.run(unpack, stdin=curl.stdout, stdout=out, check=True)
                assert curl.wait() == 0
            _note(runs, f"deliver {mbit}: B {peer}, s", time.monotonic() - began)
            same(disk, folder / "out")


def _update(old: Path, new: Path, blobs: dict[Path, Blob], ends: tuple[list[str], list[str]], folder: Path, runs: Runs) -> None:
    for _ in range(ROUNDS):
        _fetch(folder / "cache", blobs[old], ends[1])
        said = _fetch(folder / "cache", blobs[new], ends[1])
        _note(runs, "update: A, s", said["s"])
        _note(runs, "update: A, MB", said["bytes"] / 1e6)
        same(new, said["file"])
        shutil.rmtree(folder / "cache")
        with _rsyncd(folder, ends[0]):
            shutil.copyfile(old, folder / "out")
            began = time.monotonic()
            done = subprocess.run(
                [*ends[1], "rsync", "-z", "--no-whole-file", "--inplace", "--ignore-times", "--stats",
                 f"rsync://{SERVER}:{PORT + 2}/all/{new.name}", folder / "out"],
                check=True, capture_output=True, text=True,
            )
            _note(runs, "update: B rsync -z, s", time.monotonic() - began)
        moved = [line for line in done.stdout.splitlines() if line.startswith("Total bytes")]
        _note(runs, "update: B rsync -z, MB", sum(int(line.split(":")[1].strip().replace(",", "")) for line in moved) / 1e6)
        same(new, folder / "out")


def _update_by_others(old: Path, new: Path, here: Sequence[str], folder: Path, runs: Runs) -> None:
    """casync and zsync, once: they take long, and always the same."""
    web = f"http://{SERVER}:{PORT + 1}"
    subprocess.run(["zsyncmake", "-o", folder / "new.zsync", "-u", new.name, new], check=True, capture_output=True)
    subprocess.run(["casync", "make", f"--store={folder / 'new.castr'}", folder / "new.caibx", new], check=True, capture_output=True)
    fetched = {
        "zsync": ["zsync", "-q", "-i", old, "-o", folder / "out", f"{web}/new.zsync"],
        "casync": ["casync", "extract", f"--store={web}/new.castr", f"--seed={old}", f"{web}/new.caibx", folder / "out"],
    }
    for peer, words in fetched.items():
        (folder / "out").unlink(missing_ok=True)
        before, began = received(here), time.monotonic()
        subprocess.run([*here, *words], check=True, capture_output=True, cwd=folder)
        _note(runs, f"update: B {peer}, s", time.monotonic() - began)
        _note(runs, f"update: B {peer}, MB", (received(here) - before) / 1e6)
        same(new, folder / "out")


@contextlib.contextmanager
def _rsyncd(folder: Path, there: Sequence[str]) -> Iterator[None]:
    (folder / "rsyncd.conf").write_text(f"use chroot = no\nuid = root\ngid = root\n[all]\npath = {folder}\nread only = yes\n")
    server = subprocess.Popen([*there, "rsync", "--daemon", "--no-detach", f"--port={PORT + 2}", f"--config={folder / 'rsyncd.conf'}"])
    try:
        time.sleep(1)
        yield
    finally:
        server.terminate()
        server.wait()


def _fetch(cache: Path, blob: Blob, here: Sequence[str]) -> dict[str, Any]:
    url = f"http://{SERVER}:{PORT}/walrus/api/1.0/blobs/{blob.sha256}"
    done = subprocess.run([*here, sys.executable, "-m", "bench.fetch_one", cache, url, blob.model_dump_json()], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def same(one: Path, other: Path | str) -> None:
    """Both hold the same bytes."""
    assert subprocess.run(["cmp", one, other], check=False).returncode == 0, f"{other} is not {one}"
