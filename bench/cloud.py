"""A real one-host cloud for a benchmark, on ports of its own, gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from deploy.cli import contexts
from tests.support.real_cloud import Cloud


@contextlib.contextmanager
def fresh() -> Iterator[Cloud]:
    """A cloud that is not up yet."""
    home = Path(tempfile.mkdtemp(prefix="edu-bench-"))
    home.chmod(0o755)
    cloud = Cloud(home)
    try:
        yield cloud
    finally:
        cloud.host("reset")
        shutil.rmtree(home)


def client_of(cloud: Cloud) -> httpx.Client:
    """The API as the cloud's administrator."""
    current, found = contexts.load(cloud.home / "user" / ".config" / "educloud" / "config.toml")
    entry = found[current]
    return httpx.Client(base_url=entry.url, headers={"Authorization": f"Bearer {entry.token}"}, timeout=60)
