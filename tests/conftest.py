"""For every test: a world of its own on disk, two databases, no network unless the test is marked live."""

import atexit
import gc
import importlib
import os
import random
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
STATE = Path(tempfile.mkdtemp(prefix="educloud-test-"))
(STATE / "static").mkdir()
_OWNER = os.getpid()
DATABASES = ["default", "cc"]
_ONE_CLOUD = "tests/live/cloud/"
_WORLDLY = {"db", "transactional_db", "world", "admin", "user", "other", "api", "client", "admin_client", "rf_page"}

_ENVIRONMENT = {
    "EDUCLOUD_ONE_PROCESS": str(STATE), "EDUCLOUD_HOST__STATE": str(STATE), "EDUCLOUD_HOST__ROLE": "clc", "EDUCLOUD_BOARD__PORT": "0",
}
os.environ["DJANGO_SETTINGS_MODULE"] = "deploy.settings"
os.environ.pop("EDUCLOUD_CONFIG", None)


@atexit.register
def _sweep() -> None:
    if os.getpid() == _OWNER:
        shutil.rmtree(STATE, ignore_errors=True)


def pytest_unconfigure():
    """A process of many that run tests ends without its exit handlers."""
    _sweep()


def _settle() -> None:
    """Have the settings computed from this environment: they may have been read before this file was."""
    import django
    from django.conf import settings
    from django.db import connections
    from django.middleware import csrf

    os.environ |= _ENVIRONMENT
    fresh = importlib.reload(importlib.import_module("deploy.settings"))
    for name in _ENVIRONMENT:
        # a test that loads the settings of some role shall find its own file, not this
        del os.environ[name]
    for name in filter(str.isupper, dir(fresh)):
        setattr(settings, name, getattr(fresh, name))
    for alias in DATABASES:
        base = settings.DATABASES[alias]
        base["TEST"] = {"NAME": str(STATE / f"test-{alias}.sqlite")}
        base["OPTIONS"] = base["OPTIONS"] | {"init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=OFF;"}
    from tests.support import backends

    settings.DATABASES = backends.databases(settings.DATABASES)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *fresh.PASSWORD_HASHERS]
    # Every test client loads the middleware anew: files are looked for when one is asked for, not all at each start.
    settings.WHITENOISE_AUTOREFRESH = True
    # A form's token is drawn by chance: none of these letters spells a name that a test looks for on a page.
    csrf.CSRF_ALLOWED_CHARS = "JQXZ"
    connections.__dict__.pop("settings", None)
    connections._settings = None
    for alias in DATABASES:
        if hasattr(connections._connections, alias):
            del connections[alias]
    django.setup()

    from django.db.models.signals import post_migrate

    from luhyadb import ready_made

    apps = importlib.import_module("django.apps").apps
    post_migrate.connect(lambda using, **_: ready_made.have(apps, using), sender=apps.get_app_config("luhyadb"),
                         weak=False)

    from clc.services import own

    own.make(STATE)


_settle()


def pytest_collection_modifyitems(items):
    """A test that takes a fixture of the world has both databases."""
    for item in items:
        if _WORLDLY & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.django_db(databases=DATABASES))


class _BesideEachOther(LoadScopeScheduling):
    """Files run beside each other; those in ``tests/live/cloud`` share one cloud and so one process."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return _ONE_CLOUD if file.startswith(_ONE_CLOUD) else file


def pytest_xdist_make_scheduler(config, log):
    """How ``--dist loadscope`` hands tests out."""
    return _BesideEachOther(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_finish():
    """What was imported stays for the whole run: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def django_db_use_migrations():
    """Tables as the models say: quicker, and a test of its own compares both."""
    return False


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """A test that is not marked live reaches nobody."""
    if request.node.get_closest_marker("live"):
        return
    from tests.support import backends

    real, asked_for = socket.socket.connect, backends.store_at()

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address != asked_for:
            raise AssertionError(f"a test that is not marked live connects to {address}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def _own_chance(request):
    """A test in one process draws the same ids and secrets each time: two codes of six digits are the same now and then."""
    if request.node.get_closest_marker("live"):
        yield
        return
    from luhyaapi import ids

    before = ids.use(random.Random(request.node.nodeid).randbytes)
    yield
    ids.use(before)


@pytest.fixture
def world(db):
    """The CLC's memory, filled by ``tests.support.clc_world``; the board is empty."""
    from tests.support.clc_world import World

    return World()


@pytest.fixture
def admin(world):
    """An administrator."""
    return world.account("root", role="superAdm")


@pytest.fixture
def user(world):
    """Somebody without rights of an administrator."""
    return world.account("ada")


@pytest.fixture
def other(world):
    """Somebody else without rights of an administrator."""
    return world.account("bob")


@pytest.fixture
def api(world):
    """``api(account)``: a client of the REST API with that account's token; ``api(None)``: nobody's."""
    return world.api
