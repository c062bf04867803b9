"""One real cloud for all tests that click through it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.real_cloud import BASE, Cloud

_LOG_LINES = 8
_LOG_CHARACTERS = 300
_CRASH_LINES = 12


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Beside a failure stands what the roles of the cloud complained of last: the cloud itself is gone after the run.

    The failure's own words come once more at the end, where who reads only the end of a long output finds them.
    """
    report = yield
    cloud = getattr(item, "funcargs", {}).get("cloud")
    if report.failed and cloud is not None:
        for log in sorted(cloud.home.glob("cloud/*/log/*")) + sorted(cloud.home.glob("cloud/supervisor/*.log")):
            with contextlib.suppress(OSError):
                if lines := _complaints(log.read_text(errors="replace")):
                    report.sections.append((str(log), "\n".join(lines)))
        crash = getattr(report.longrepr, "reprcrash", None)
        report.sections.append(("the failure again", "\n".join(str(crash or report.longrepr).splitlines()[:_CRASH_LINES])))
    return report


def _complaints(text):
    """The last lines that are no plain news, each cut short."""
    lines = [line for line in text.splitlines() if line.strip() and '"level": "info"' not in line and "[info]" not in line]
    return [line[:_LOG_CHARACTERS] for line in lines[-_LOG_LINES:]]


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
