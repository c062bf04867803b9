"""Beside a failure stands what the roles of its cloud complained of last: the cloud itself is gone after the run."""

import contextlib
from pathlib import Path

import pytest

_LOG_LINES = 8
_LOG_CHARACTERS = 300
_CRASH_LINES = 12


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """The failure's own words come once more at the end, where who reads only the end of a long output finds them."""
    report = yield
    logs = _logs(getattr(item, "funcargs", {})) if report.failed else []
    for log in logs:
        with contextlib.suppress(OSError):
            if lines := _complaints(log.read_text(errors="replace")):
                report.sections.append((str(log), "\n".join(lines)))
    if logs:
        words = [line for line in report.longreprtext.splitlines() if line.startswith(("E ", ">"))]
        report.sections.append(("the failure again", "\n".join(words[:_CRASH_LINES])))
    return report


def _logs(taken: dict[str, object]) -> list[Path]:
    cloud, bed = taken.get("cloud"), taken.get("bed")
    if cloud is not None:
        return sorted(cloud.home.glob("cloud/*/log/*")) + sorted(cloud.home.glob("cloud/supervisor/*.log"))
    folder = getattr(bed, "folder", None)
    return sorted(each for each in folder.rglob("*.log") if each.is_file()) if folder else []


def _complaints(text):
    """The last lines that are no plain news, each cut short."""
    lines = [line for line in text.splitlines() if line.strip() and '"level": "info"' not in line and "[info]" not in line]
    return [line[:_LOG_CHARACTERS] for line in lines[-_LOG_LINES:]]
