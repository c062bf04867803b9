"""File systems of every size in a mount namespace of its own: the one that is full strikes at every stage of an image on its way."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
STAGES = """
import hashlib, io, os, random, subprocess, sys
from collections import Counter
from pathlib import Path
from luhyaapi import log
from luhyaapi.contracts.specs import Blob, UploadPart
from luhyaapi.errors import Failed
from luhyaapi.transfer import courier, giver
from luhyaapi.transfer.blocks import index_of
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.download import PROTOCOLS, Patience
from tests.support import image_store
from tests.support.faulty_transfer import FaultyTransfer
from walrus.services.library import Library

log.setup("CRITICAL")
disk, source, work = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
data = bytearray(random.Random(1).randbytes(10 * 65536) + bytes(10 * 65536))
data[510:512] = b"\\x55\\xaa"
source.write_bytes(data)
old, sha256, index = b"\\x7fELF" + b"o" * 60000, hashlib.sha256(data).hexdigest(), index_of(source)
announced = UploadPart(part="disk", size=len(data), sha256=sha256)
courier.use(lambda run, _name: run())
PROTOCOLS["fake"] = FaultyTransfer(source)


def opened():
    store = image_store.opened(disk / "store", quota_mib=10**9)
    store._keep_free = store.objects._keep_free = -10**12
    return store, Library(disk / "library", store)


def publish(store, library):
    library.open_upload("u1", [("disk", len(data))])
    library.write("u1", "disk", 0, io.BytesIO(data), len(data))
    library.publish("u1", [announced])


def push(store, library):
    library.drafts.begin("d1", index.size, index.name, giver.squeeze(index))
    for n in range(10):
        library.drafts.take("d1", b"".join(giver.of_file(source, index, [n])))
    library.adopt("d1")


def fetch(_store, _library):
    cache = BlobCache(disk / "cache", 10**9, -10**6)
    blob = Blob(part="disk", sha256=sha256, index=index.name, size=len(data), virtual_size=len(data))
    path = courier.fetch(cache, blob, f"fake://x/{sha256}", "t", patience=Patience(1, 1))
    assert path.read_bytes() == data


def tried(act, *given):
    try:
        act(*given)
    except Failed as e:
        return e.code
    return "whole"


def old_one(store):
    (disk / "old").write_bytes(old)
    name = hashlib.sha256(old).hexdigest()
    store.add(disk / "old", name)
    (disk / "old").unlink()
    return name


said = Counter()
for size in range(int(sys.argv[4]), int(sys.argv[5]), 52):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
    store, library = opened()
    kept = old_one(store)
    end = tried({"publish": publish, "push": push, "fetch": fetch}[work], store, library)
    said[end] += 1
    assert b"".join(store.read(kept, 0, len(old))) == old, size
    if end == "whole" and work != "fetch":
        assert b"".join(store.read(sha256, 0, len(data))) == data, size
    assert end == "whole" or not store.has(sha256), size
    store.close()
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    store, library = opened()
    again = tried({"publish": publish, "push": push, "fetch": fetch}[work], store, library) if end != "whole" else "whole"
    assert again == "whole", (size, end, again)
    if work != "fetch":
        assert b"".join(store.read(sha256, 0, len(data))) == data, size
    store.close()
    subprocess.run(["umount", disk], check=True)
print(dict(sorted(said.items())))
"""


@pytest.mark.parametrize(("work", "first", "end"), [("publish", 240, 2200), ("push", 240, 1400), ("fetch", 240, 1200)])
def test_it_is_said_whatever_it_strikes_and_goes_on_with_room(tmp_path, work, first, end):
    (disk := tmp_path / "disk").mkdir()
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", STAGES, disk, tmp_path / "source", work, str(first), str(end)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = eval(done.stdout)
    assert set(said) == {"disk_full", "whole"}
    assert said["disk_full"] > 10
