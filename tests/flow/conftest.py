"""Every test here gets ``cloud``: a whole cloud of its own."""

import contextlib
import shutil

import pytest

from luhyaapi import log
from tests.simulator import prepared
from tests.support import backends, flow_world


@pytest.fixture(scope="session")
def _template(django_db_blocker):
    log.setup("ERROR")
    with django_db_blocker.unblock():
        template = flow_world.make_template()
    yield template
    shutil.rmtree(template[0], ignore_errors=True)


@pytest.fixture
def queue_set(monkeypatch):
    """``queue_set(wait_s=0)``: other settings of the queue, in this test."""
    from django.conf import settings

    def change(**over):
        ours = settings.EDUCLOUD
        monkeypatch.setattr(settings, "EDUCLOUD", ours.model_copy(update={"queue": ours.queue.model_copy(update=over)}))

    return change


@pytest.fixture
def impatient(queue_set):
    """Nobody waits for room."""
    queue_set(wait_s=0)


@pytest.fixture(autouse=True)
def _quicker():
    """On SQLite, what Django makes of a question is kept: half the time of these tests goes into making it."""
    with contextlib.nullcontext() if backends.is_mariadb() else prepared.installed():
        yield


@pytest.fixture
def cloud(_template, django_db_blocker):
    with django_db_blocker.unblock(), flow_world.fresh(_template) as world:
        yield world


@pytest.fixture
def clouds(_template, django_db_blocker):
    """``with clouds() as world``: as many as a test wants."""
    with django_db_blocker.unblock():
        yield lambda: flow_world.fresh(_template)
