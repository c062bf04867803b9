"""The doors of the image store: a disk down and up on one machine, and what naming its content costs.

A is Walrus's byte door over loopback; B what one would pick instead: nginx for a plain file; `cp` with `sync` and Django's own
multipart reader for an upload; b3sum, openssl and sha256sum for a digest. Ours are blocks' names (BLAKE3 of 64 KiB each, holes
never read). One GiB of a file system of this machine's programs, in the page cache; bytes are compared.
"""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench import disks, images, peers, web
from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.transfer.blocks import index_of
from nc.services import disks as disks_of_nodes

ROUNDS = int(os.environ.get("EDUCLOUD_BENCH_ROUNDS", "5"))
PORT = 20440
_TICKET = {"Authorization": "Ticket t"}
_CURL = ["curl", "-sSf", "-H", "Authorization: Ticket t"]
_MIB = 1024 * 1024
_PIECE = 8 * _MIB
Runs = dict[str, list[float]]


def measure() -> dict[str, Any]:
    """MB/s."""
    peers.needed("nginx", "curl", "b3sum", "openssl")
    with tempfile.TemporaryDirectory(prefix="edu-bench-") as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> dict[str, Any]:
    disk = disks.filled(folder, "disk", 1024, 780)
    store = images.opened(folder / "store")
    blob = images.keep(store, disk)
    store.close()
    runs = Runs()
    with web.door(folder / "store", PORT, library=folder / "library"), web.files(folder, PORT + 1):
        for number in range(ROUNDS):
            _round(folder, disk, blob.sha256, f"upl-{number}", runs)
    return {"runs": runs}


def _round(folder: Path, disk: Path, sha256: str, upload: str, runs: Runs) -> None:
    rate = partial(_rate, runs, disk.stat().st_size / 1e6)
    ours, out = f"http://127.0.0.1:{PORT}/walrus/api/1.0", folder / "out"
    rate("download: A", partial(_run, [*_CURL, "-o", out, f"{ours}/blobs/{sha256}"]))
    images.same(disk, out)
    rate("download: B nginx", partial(_run, ["curl", "-sSf", "-o", out, f"http://127.0.0.1:{PORT + 1}/{disk.name}"]))
    images.same(disk, out)
    rate("upload: A", partial(_upload, ours, upload, disk))
    images.same(disk, folder / "library/uploads" / upload / "disk.part")
    _run([*_CURL, "-X", "DELETE", f"{ours}/uploads/{upload}", "-o", folder / "said"])
    out.unlink()
    rate("upload: B cp and sync", partial(_run, ["sh", "-c", 'cp --sparse=never "$1" "$2" && sync "$2"', "sh", disk, out]))
    out.unlink()
    rate("upload: B multipart", partial(_multipart, disk, out))
    images.same(disk, out)
    out.unlink()
    for how, act in (("A", partial(disks_of_nodes.overlay, disk, DiskFormat.RAW, out)),
                     ("B qemu-img create", partial(_run, ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, out])),
                     ("B cp --sparse=always", partial(_run, ["cp", "--sparse=always", disk, out]))):
        began = time.monotonic()
        act()
        runs.setdefault(f"a disk of an image that is here: {how}, ms", []).append(1000 * (time.monotonic() - began))
        out.unlink()
    rate("names: A", partial(index_of, disk))
    for words in (["b3sum"], ["b3sum", "--num-threads", "1"], ["openssl", "sha256"], ["sha256sum"]):
        rate(f"names: B {' '.join(words)}", partial(_run, [*words, disk]))


def _rate(runs: Runs, megabytes: float, what: str, act: Callable[[], object]) -> None:
    began = time.monotonic()
    act()
    runs.setdefault(f"{what}, MB/s", []).append(megabytes / (time.monotonic() - began))


def _run(words: Sequence[str | Path]) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _upload(ours: str, name: str, disk: Path) -> None:
    """In pieces of 8 MiB over one connection, as the client does."""
    import httpx

    at, size = 0, disk.stat().st_size
    with httpx.Client(timeout=60, headers=_TICKET) as client, disk.open("rb") as file:
        client.post(f"{ours}/uploads/{name}", json={"parts": [{"part": "disk", "size": size}]}).raise_for_status()
        while at < size:
            data = file.read(_PIECE)
            answer = client.put(f"{ours}/uploads/{name}/disk", params={"offset": at}, content=data)
            at = int(answer.raise_for_status().json()["received"])


def _multipart(disk: Path, out: Path) -> None:
    """Django reads a form from memory and writes the file where it belongs: without any network, in its favour."""
    from django.conf import settings
    from django.core.files.uploadhandler import TemporaryFileUploadHandler
    from django.http.multipartparser import MultiPartParser

    if not settings.configured:
        settings.configure(FILE_UPLOAD_TEMP_DIR=str(out.parent))
    head = b'--edubenchboundary\r\nContent-Disposition: form-data; name="disk"; filename="disk"\r\nContent-Type: application/octet-stream\r\n\r\n'
    tail = b"\r\n--edubenchboundary--\r\n"
    with disk.open("rb") as file:
        body = _Chain(io.BytesIO(head), file, io.BytesIO(tail))
        meta = {"CONTENT_TYPE": "multipart/form-data; boundary=edubenchboundary", "CONTENT_LENGTH": str(len(head) + disk.stat().st_size + len(tail))}
        _, files = MultiPartParser(meta, body, [TemporaryFileUploadHandler()], "utf-8").parse()
        with out.open("wb") as target:
            for chunk in files["disk"].chunks():
                target.write(chunk)
            os.fsync(target.fileno())


class _Chain:
    def __init__(self, *parts: Any) -> None:
        self._parts = list(parts)

    def read(self, size: int = -1) -> bytes:
        found = bytearray()
        while self._parts and (size < 0 or len(found) < size):
            if data := self._parts[0].read(size - len(found) if size >= 0 else -1):
                found += data
            else:
                self._parts.pop(0)
        return bytes(found)
