"""Servers of a test, a canary, and ``get``."""

import contextlib
import hashlib
import time

import pytest

from luhyaapi import clock
from luhyaapi.errors import Unavailable
from luhyaapi.transfer.fetch.fetcher import fetch_url
from luhyaapi.transfer.fetch.rules import Rules
from tests.support.fetching import ALLOWED, CONTENT
from tests.support.small_ftp import SmallFtp
from tests.support.small_http import Canary, SmallHttp


class Hasty(clock.Clock):
    """The real time, but nobody sleeps long."""

    def sleep(self, seconds):
        time.sleep(min(seconds, 0.001))


@pytest.fixture(autouse=True)
def _hasty():
    before = clock.use(Hasty())
    yield
    clock.use(before)


@pytest.fixture
def serve():
    """``serve(answer)``: a server with that answer."""
    with contextlib.ExitStack() as stack:
        def start(answer, **more):
            return stack.enter_context(contextlib.closing(SmallHttp(answer, **more)))
        yield start


@pytest.fixture
def ftp():
    with contextlib.closing(SmallFtp({"/pub/disk.img": CONTENT, "/pub/empty": b""})) as server:
        yield server


@pytest.fixture
def canary():
    with contextlib.closing(Canary()) as canary:
        yield canary
        assert canary.silent(), "an address that is not allowed was contacted"


@pytest.fixture
def get(tmp_path):
    """``get(url, **rules)``: fetch it; nothing but the file may be there afterwards, unless it was cut."""
    def fetch(url, resolve=None, cancelled=lambda: False, on_progress=lambda *_a: None, **rules):
        rules = Rules(**{"largest_bytes": 10**8, "total_s": 30, "idle_s": 20, "allowed": ALLOWED} | rules)
        target = tmp_path / "target"
        target.unlink(missing_ok=True)
        wanted = []
        try:
            fetched = fetch_url(url, target, rules=rules, cancelled=cancelled, on_progress=on_progress, resolve=resolve)
            wanted = ["target"]
            assert fetched.size == target.stat().st_size
            assert fetched.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
        except Unavailable:
            wanted = [[], ["target.part", "target.part.note"]]
            raise
        finally:
            assert sorted(each.name for each in tmp_path.iterdir()) in (wanted, *wanted)
        return fetched
    fetch.target = tmp_path / "target"
    return fetch
