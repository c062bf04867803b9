"""``simulated``: both databases in memory, and the template of this process."""

import pytest

from luhyaapi import log
from tests.simulator import cloud


@pytest.fixture(scope="module")
def simulated(django_db_blocker):
    log.setup("CRITICAL")
    with django_db_blocker.unblock(), cloud.own_memories():
        cloud.template()
        yield
    log.setup("ERROR")
