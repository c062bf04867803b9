"""A real guest that runs before its image is here: it reads right bytes through death of source and node, and ends on the local file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest

from deploy.demo_images import cpio
from deploy.demo_images.build import build_tiny
from luhyaapi import clock
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec
from luhyaapi.contracts.vocabulary import Part
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.wire.blobs import block_routes
from luhyaapi.wire.http import Door
from tests.support.private_libvirtd import PrivateLibvirtd, private_libvirtd

pytestmark = pytest.mark.live
A, PORT = "ins-0000000a", 20417
SIZE = 10 * 1024 * 1024
BYTES_PER_S = 4_000_000
READER = b"""#!/bin/sh
export PATH=/bin
mount -t proc none /proc
mount -t devtmpfs none /dev
for name in $(cat /lib/modules/order); do insmod /lib/modules/$name; done
say() { echo "reader: $*" > /dev/ttyS0; }
say first $(head -c 1000000 /dev/vda | sha256sum)
while true; do
  say whole $(sha256sum < /dev/vda) $(dmesg | grep -c "I/O error")
  echo 3 > /proc/sys/vm/drop_caches
  sleep 1
done
"""


class Slow(CacheGiver):
    """Over a thin link, but for what is fetched whole before."""

    def frames(self, sha256: str, wanted: Sequence[int]) -> Iterator[bytes]:
        is_disk = self.index(sha256).size == SIZE
        for frame in super().frames(sha256, wanted):
            clock.sleep(len(frame) / BYTES_PER_S if is_disk else 0)
            yield frame


class Source:
    """A cluster's cache and its door."""

    def __init__(self, folder: Path) -> None:
        self.cache = BlobCache(folder, 1024, 0)
        self.door: Door | None = None

    def keep(self, part: Part, content: bytes) -> Blob:
        sha256 = hashlib.sha256(content).hexdigest()
        file = self.cache.folder / "parts" / part
        file.write_bytes(content)
        self.cache.adopt(file, sha256)
        return Blob(part=part, sha256=sha256, index=self.cache.index(sha256).name, size=len(content))

    def open(self) -> None:
        self.door = Door("cc", "127.0.0.1", PORT, block_routes("cc", Slow(self.cache), lambda *_: None), lambda: ())
        self.door.start()

    def die(self) -> None:
        assert self.door
        self.door.stop()


class Node:
    """The node's process, its files and its guest's words."""

    def __init__(self, private: PrivateLibvirtd, image: ImageRef) -> None:
        self.private, self.state = private, private.folder / "nc"
        self.state.mkdir(mode=0o711)
        self.disk = image.blob(Part.DISK)
        self.spec = MachineSpec(instance=A, name="trial", cpus=1, memory_mib=128, image=image, display_port=8700)
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        with (self.state / "log").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.lazy_node", self.state, self.private.uri,
                 f"http://127.0.0.1:{PORT}/cc/api/1.0", self.spec.model_dump_json()],
                stdout=out, stderr=out,
            )

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    @property
    def said(self) -> str:
        try:
            return (self.state / "instances" / A / "console.log").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    @property
    def socket(self) -> Path:
        return self.state / "instances" / A / "image"

    @property
    def here(self) -> int:
        """Bytes of the image that are here."""
        assert self.disk
        part = self.state / "cache" / "parts" / f"{self.disk.sha256}.part"
        with contextlib.suppress(FileNotFoundError):
            return part.stat().st_blocks * 512
        return SIZE

    def until(self, holds: Callable[[], object], within_s: float = 20) -> None:
        until = clock.monotonic() + within_s
        while not holds():
            assert clock.monotonic() < until, f"{self.said[-600:]}\n{(self.state / 'log').read_text()[-2000:]}"
            clock.sleep(0.05)


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateLibvirtd]:
    with private_libvirtd() as daemon:
        yield daemon


def test_a_guest_runs_on_what_is_here_and_notices_nothing(private: PrivateLibvirtd, tmp_path: Path) -> None:
    tiny, content = build_tiny(tmp_path / "out", tmp_path / "work"), os.urandom(SIZE)
    initrd = tiny.files["initrd"].read_bytes() + cpio.archive([cpio.plain("reader", READER)])
    source = Source(tmp_path / "far")
    blobs = (
        source.keep(Part.KERNEL, tiny.files["kernel"].read_bytes()), source.keep(Part.INITRD, initrd), source.keep(Part.DISK, content),
    )
    node = Node(private, ImageRef(image="img-00000001", version=1, blobs=blobs, cmdline="console=ttyS0 rdinit=/reader quiet"))
    source.open()
    node.begin()
    try:
        _watch(node, source, content)
    finally:
        node.kill()
        source.die()


def _watch(node: Node, source: Source, content: bytes) -> None:
    first, whole = hashlib.sha256(content[:1_000_000]).hexdigest(), hashlib.sha256(content).hexdigest()
    node.until(lambda: f"reader: first {first}" in node.said)
    assert node.here < SIZE // 2
    assert node.socket.lstat().st_uid == 1_900_000_000 + 8700
    source.die()
    clock.sleep(1)
    before = node.here
    clock.sleep(4)
    assert node.here == before < SIZE
    source.open()
    node.until(lambda: node.here > before)
    node.kill()
    assert node.here < SIZE
    clock.sleep(0.5)
    node.begin()
    node.until(lambda: f"reader: whole {whole} - 0" in node.said, 30)
    node.until(lambda: not node.socket.exists())
    assert (node.state / "cache" / "blobs" / whole[:2] / whole).read_bytes() == content
    assert _stands_on(node) == {str(node.state / "cache" / "blobs" / whole[:2] / whole)}
    times = node.said.count("reader: whole")
    node.until(lambda: node.said.count(f"reader: whole {whole} - 0\n") > times)
    assert len(set(re.findall("reader: whole (.*)", node.said))) == 1


def _stands_on(node: Node) -> set[str]:
    """What QEMU says its disk's backing is."""
    domain = libvirt.open(node.private.uri).lookupByName(A)
    said = libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-block"}', 0)
    return set(re.findall('"backing_file": *"([^"]*)"', said))

