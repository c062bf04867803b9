"""The first start on a node, over the cable of a classroom: a guest that reads its image while it comes, one that waits for it, a local one.

The disk is the built-in ``debian`` (``EDUCLOUD_BENCH_DISK`` names another raw one that boots by itself), the source a cluster's
cache behind its door, the guest runs under TCG beside both on this machine. Seconds and received bytes are until systemd of the
guest says its first word, and until the image is whole and the guest stands on it. Each image is compared byte by byte.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.link import SERVER, cable
from deploy.demo_images.build import build_debian
from luhyaapi.contracts.specs import Blob
from luhyaapi.transfer.cache import BlobCache
from tests.support.private_libvirtd import private_libvirtd

ROUNDS = int(os.environ.get("EDUCLOUD_BENCH_ROUNDS", "3"))
MBIT, PORT, MARKER = 94, 20391, "Welcome to"
_ENOUGH_MIB = 1 << 20


def measure() -> dict[str, Any]:
    """Seconds and bytes."""
    folder = Path(tempfile.mkdtemp(prefix="edu-bench-"))
    try:
        return _measure(folder)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path) -> dict[str, Any]:
    disk, far = _disk(folder), BlobCache(folder / "far", _ENOUGH_MIB, 0)
    with disk.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    _keep(far, disk, sha256)
    blob = Blob(part="disk", sha256=sha256, index=far.index(sha256).name, size=disk.stat().st_size)
    runs: dict[str, list[float]] = {}
    with private_libvirtd() as private, cable(MBIT) as ends:
        door = subprocess.Popen([*ends[0], sys.executable, "-m", "bench.lazy_node", "door", far.folder, str(PORT)])
        try:
            time.sleep(3)
            for _ in range(ROUNDS):
                for how in ("local", "lazy", "whole"):
                    state = private.folder / f"nc-{how}"
                    state.mkdir(mode=0o711)
                    if how == "local":
                        _keep(BlobCache(state / "cache", _ENOUGH_MIB, 0), disk, sha256)
                    words = [
                        *ends[1], sys.executable, "-m", "bench.lazy_node", "start", how, state, private.uri,
                        f"http://{SERVER}:{PORT}/cc/api/1.0/blobs", blob.model_dump_json(), MARKER,
                    ]
                    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=600)
                    for what, value in json.loads(done.stdout.splitlines()[-1]).items():
                        runs.setdefault(f"{how}: {what}", []).append(value)
                    assert filecmp.cmp(BlobCache(state / "cache", _ENOUGH_MIB, 0).place(sha256), disk, shallow=False)
                    shutil.rmtree(state)
        finally:
            door.kill()
            door.wait()
    return {"runs": runs}


def _disk(folder: Path) -> Path:
    given = os.environ.get("EDUCLOUD_BENCH_DISK")
    if given:
        return Path(given)
    built = build_debian(folder / "out", folder / "work").files["disk"]
    subprocess.run(["qemu-img", "convert", "-O", "raw", built, folder / "debian.raw"], check=True)
    return folder / "debian.raw"


def _keep(cache: BlobCache, disk: Path, sha256: str) -> None:
    copy = cache.folder / "parts" / "copy"
    subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
    cache.adopt(copy, sha256)
