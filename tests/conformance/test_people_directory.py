"""The laws of a directory of people, kept by the one in memory; ``tests/live/test_openldap.py`` asks a real one."""

import pytest

from tests.support import fake_directory
from tests.support.directory_laws import Laws


@pytest.fixture
def bed(monkeypatch):
    one = fake_directory.Bed()
    fake_directory.registered(monkeypatch, one)
    return one


class TestInMemory(Laws):
    """The fake."""
