"""A sample of the suites on MariaDB and an S3 store; ``python -m tests.on mariadb s3`` runs them whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ("tests/flow/test_workspaces.py::test_prepared_run_stopped_submitted", "tests/api/test_once.py")


def test_a_sample_is_green_on_both():
    words = [sys.executable, "-m", "tests.on", "mariadb", "s3", "--", "-q", "-p", "no:cacheprovider", *SAMPLE]
    mine = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(words, cwd=ROOT, env=mine, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("words", [[], ["oracle"], ["--", "tests/flow"]])
def test_a_wrong_use_is_said(words):
    done = subprocess.run([sys.executable, "-m", "tests.on", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "MariaDB" in done.stderr) == (2, True)
