"""A file system that is really full, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
FULL = """
import subprocess, sys
from pathlib import Path
from luhyaapi.errors import Failed
from walrus.drivers.local import LocalStore
disk, source = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
store = LocalStore(disk / "objects", 0)
store.put("packs/1", b"old")
store._keep_free = -10**9  # what is asked before would say no already; between question and write others take the space
for put, what in ((store.put, source.read_bytes()), (store.put_file, source)):
    try:
        put("packs/1", what)
    except Failed as e:
        print(e.code, e.why)
assert (store.get("packs/1"), list(store.names("")), source.stat().st_size) == (b"old", ["packs/1"], 2 << 20)
assert list((disk / "objects/.parts").iterdir()) == []
"""


def test_a_full_disk_is_said_and_nothing_stays(tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    (source := tmp_path / "source").write_bytes(bytes(2 << 20))
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", FULL, disk, source]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["disk_full [Errno 28] No space left on device"] * 2
