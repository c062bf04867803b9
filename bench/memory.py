"""The memory of one boss for a benchmark: its own state folder and database, SQLite or MariaDB; and a broker and a board of its own.

``EDUCLOUD_BENCH_DATABASE=mariadb`` has MariaDB started for it, in memory of the machine; else SQLite, in the state folder on disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASE = "20200"


@contextlib.contextmanager
def opened(role: str, **over: str) -> Iterator[Path]:
    """Django set up for ``role`` with empty tables; ``over``: settings as ``GROUP__FIELD``. The state folder."""
    state = Path(tempfile.mkdtemp(prefix="edu-bench-"))
    state.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, state)
        settings = {"HOST__ROLE": role, "HOST__STATE": str(state), "BOARD__PORT": "0", **over}
        if os.environ.pop("EDUCLOUD_BENCH_DATABASE", "") == "mariadb":
            from tests.support import private_mariadb

            server = stack.enter_context(private_mariadb.server(role))
            settings |= {"DATABASE__URL": server.url(role), "DATABASE__PASSWORD_FILE": str(server.password)}
        os.environ |= {f"EDUCLOUD_{name}": value for name, value in settings.items()} | {"DJANGO_SETTINGS_MODULE": "deploy.settings"}
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        stack.callback(connections.close_all)
        yield state


def database() -> str:
    """Which one it is."""
    from django.db import connection

    return {"mysql": "MariaDB", "sqlite": "SQLite"}[connection.vendor]


@contextlib.contextmanager
def services() -> Iterator[Any]:
    """The plan of a host whose broker and board run, and nothing else."""
    from tests.support import private_broker

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, also when we are
    with contextlib.redirect_stdout(sys.stderr), private_broker.services(BASE, "clc") as made:
        yield made
