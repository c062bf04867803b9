"""One real cloud for all tests that click through it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.real_cloud import BASE, Cloud


@pytest.fixture(scope="session")
def cloud():
    kept = os.environ.get("KEPT_TEST_CLOUD")
    if kept:
        # A developer's own: it stays up from run to run.
        cloud = Cloud(Path(kept))
        cloud.host("up")
        yield cloud
        return
    home = Path(tempfile.mkdtemp(prefix="edu-cloud-"))
    home.chmod(0o755)
    cloud = Cloud(home)
    # What a run that was ended from outside left behind: its bridge has our subnet and names a folder that is gone.
    subprocess.run(["ip", "link", "del", f"edu{BASE}"], capture_output=True, check=False)
    try:
        cloud.host("up")
        yield cloud
    finally:
        cloud.host("reset")
        shutil.rmtree(home)
