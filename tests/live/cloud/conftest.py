"""One real cloud for all tests that click through it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.real_cloud import BASE, Cloud

_LOG_LINES = 30


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Beside a failure stands what the roles of the cloud logged last: the cloud itself is gone after the run."""
    report = yield
    cloud = getattr(item, "funcargs", {}).get("cloud")
    if report.failed and cloud is not None:
        for log in sorted(cloud.home.glob("cloud/*/log/*")) + sorted(cloud.home.glob("cloud/supervisor/*.log")):
            with contextlib.suppress(OSError):
                report.sections.append((str(log), "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])))
    return report


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
