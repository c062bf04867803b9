"""What the benchmarks of images share: a block store in a folder, what a node does to have a file, and that two files are the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.link import SERVER
from luhyaapi.contracts.specs import Blob
from walrus.drivers.local import LocalStore
from walrus.services.blockstore import BlockStore

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
Runs = dict[str, list[float]]


def opened(folder: Path) -> BlockStore:
    """Its objects in ``folder/objects``; opened again it has what it had."""
    return BlockStore(LocalStore(folder / "objects", 0), folder / "places", KEY, 1 << 20, 0)


def sha256_of(disk: Path) -> str:
    """By the whole file, holes too."""
    with disk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(store: BlockStore, disk: Path, sha256: str = "") -> Blob:
    """Have the store keep a disk; what it is called there."""
    sha256 = sha256 or sha256_of(disk)
    return Blob(part="disk", sha256=sha256, index=store.add(disk, sha256).index.name, size=disk.stat().st_size)


def fetch(cache: Path, blob: Blob, port: int, here: Sequence[str]) -> dict[str, Any]:
    """A node that lives ``here`` (the words before a program) fetches it from the server's byte door; what :mod:`bench.fetch_one` says."""
    url = f"http://{SERVER}:{port}/walrus/api/1.0/blobs/{blob.sha256}"
    done = subprocess.run([*here, sys.executable, "-m", "bench.fetch_one", cache, url, blob.model_dump_json()], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def same(one: Path, other: Path | str) -> None:
    """Raises AssertionError unless both hold the same bytes."""
    assert subprocess.run(["cmp", one, other], check=False).returncode == 0, f"{other} is not {one}"


def note(runs: Runs, what: str, value: float) -> None:
    """One value more, said as it comes: these benchmarks take long."""
    print(f"{what}: {value:.2f}", file=sys.stderr, flush=True)
    runs.setdefault(what, []).append(value)
