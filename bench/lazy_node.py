"""A node without a cloud, and a byte door for it, in a namespace each.

``python -m bench.lazy_node door CACHE PORT`` gives what a cluster's cache has.
``python -m bench.lazy_node start HOW STATE LIBVIRT URL BLOB MARKER [CMDLINE KERNEL INITRD]`` brings an image (HOW: whole, lazy;
local: it is here already; kernel and initrd always are), starts a guest on it and prints seconds and received bytes: until
MARKER is on its console, and until the image is whole and the guest stands on it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from luhyaapi import conf, log
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec
from luhyaapi.contracts.vocabulary import Part
from luhyaapi.transfer import courier
from luhyaapi.transfer.arrivals import Coming
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.wire.blobs import block_routes
from luhyaapi.wire.http import Door
from nc.drivers.fake import FakeNetwork
from nc.drivers.libvirt_hypervisor import LibvirtHypervisor
from nc.services.domains import Domains, Hands

INSTANCE = "ins-0000000a"
_PARTS = (Part.KERNEL, Part.INITRD)
_RECEIVED = Path("/sys/class/net/eth0/statistics/rx_bytes")


def _door(cache: str, port: str) -> None:
    giver = CacheGiver(BlobCache(Path(cache), 1 << 20, 0))
    Door("cc", "0.0.0.0", int(port), block_routes("cc", giver, lambda *_: None), lambda: ()).start()
    threading.Event().wait()


def _here(cache: BlobCache, part: Part, file: str) -> Blob:
    content = Path(file).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    copy = cache.folder / "parts" / part
    copy.write_bytes(content)
    cache.adopt(copy, sha256)
    return Blob(part=part, sha256=sha256, index=cache.index(sha256).name, size=len(content))


def _start(how: str, state: str, libvirt: str, url: str, blob: str, marker: str, cmdline: str = "", *files: str) -> None:
    settings = conf.Settings(host={"state": Path(state)}, hypervisor={"uri": libvirt, "accelerator": "tcg"})
    cache = BlobCache(Path(state) / "cache", 1 << 20, 0)
    driver, disk = LibvirtHypervisor(settings), Blob.model_validate_json(blob)
    domains = Domains(settings, Hands(driver, FakeNetwork(Path(state) / "fake"), cache), "nc-00000001", lambda _facts: None)
    job: Any = SimpleNamespace(task="tsk-00000001", checkpoint=lambda: None, cancelled=lambda: False)
    spec = MachineSpec(
        instance=INSTANCE, name="trial", cpus=1, memory_mib=512, display_port=8700,
        image=ImageRef(image="img-00000001", version=1, blobs=(disk, *(_here(cache, *each) for each in zip(_PARTS, files, strict=False))), cmdline=cmdline),
    )
    log.setup("INFO")
    driver.probe()
    before, began = int(_RECEIVED.read_text()), time.monotonic()
    cache.pin(disk.sha256, job.task)
    if how == "lazy":
        domains.exports.bring(Coming(blob=disk, url=url.removesuffix("/blobs"), ticket="t"), job.cancelled)
    else:
        courier.fetch(cache, disk, f"{url}/{disk.sha256}", "t")
    here = time.monotonic() - began
    domains.start(job, spec, 1, 1)
    console = domains.log(INSTANCE)
    while marker.encode() not in console.read_bytes():
        time.sleep(0.05)
    said = {"fetched s": here, "marker s": time.monotonic() - began, "marker MB": (int(_RECEIVED.read_text()) - before) / 1e6}
    while domains.exports.instances() or not cache.path(disk.sha256):
        time.sleep(0.05)
    said |= {"whole s": time.monotonic() - began, "whole MB": (int(_RECEIVED.read_text()) - before) / 1e6}
    print(json.dumps(said))
    domains.delete(INSTANCE, 2, 1)


if __name__ == "__main__":
    {"door": _door, "start": _start}[sys.argv[1]](*sys.argv[2:])
