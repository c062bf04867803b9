"""A guest of a real cloud runs before its disk is on its node; ``tests/live/test_lazy_guest.py`` goes on from there."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
SIZE = 24 * 1024 * 1024


def test_a_guest_runs_before_its_disk_is_here(cloud, tmp_path):
    disk = tmp_path / "disk.raw"
    content = bytearray(os.urandom(SIZE))
    content[:2], content[510:512] = b"\xeb\xfe", b"\x55\xaa"  # a boot sector that waits for ever
    disk.write_bytes(content)
    cloud.call("image", "upload", str(disk), "--name", "idle")
    made = cloud.json("instance", "run", "--image", "idle", "--name", "idle-1")
    node = Path(cloud.environ["EDUCLOUD_HOME"]) / "nc"
    assert (node / "instances" / made["id"] / "image").is_socket()
    assert not [file for file in node.glob("cache/blobs/??/*") if file.stat().st_size == SIZE]
    assert {file.stat().st_mode & 0o777 for file in node.glob("lazy/*.json")} == {0o600}, "also of others' that still come"
    assert cloud.json("instance", "show", made["id"])["state"] == "running"
    cloud.call("instance", "delete", made["id"], "--yes")
    assert not (node / "instances" / made["id"]).exists()
    cloud.call("image", "delete", "idle", "--yes")
