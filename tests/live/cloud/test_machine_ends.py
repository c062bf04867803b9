"""A machine that expires is really stopped: by the cloud itself, its guest asked first, its disk kept."""

import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.live
_AT_ONCE_S = 45


def _guest(ident):
    return [p for p in psutil.process_iter(["cmdline"]) if f"guest={ident}," in " ".join(p.info["cmdline"] or ())]


def test_an_instance_that_expires_stops(cloud):
    made = cloud.json("instance", "run", "--image", "tiny", "--expires", "1h")
    ident = made["id"]
    try:
        assert made["expires_at"]
        assert len(_guest(ident)) == 1
        began = time.monotonic()
        cloud.json("instance", "expire", ident, "1s")
        assert cloud.soon(lambda: cloud.json("instance", "show", ident)["state"] == "stopped")
        assert time.monotonic() - began < _AT_ONCE_S
        assert _guest(ident) == []
        assert (Path(cloud.environ["EDUCLOUD_HOME"]) / "nc" / "instances" / ident).is_dir()
        cloud.call("instance", "start", ident, code=5)
        (line,) = [r for r in cloud.json("report", "instances") if r["instance"] == ident]
        assert 0 < line["hours"] < 1
        assert line["to"]
    finally:
        cloud.call("instance", "delete", ident, "--yes")
