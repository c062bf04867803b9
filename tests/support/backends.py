"""What the suites run on when somebody asks for it (see :mod:`tests.on`): a MariaDB server instead of SQLite, an S3 store instead of a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.core.management import call_command
from django.db import connections, transaction
from django.test import override_settings

from luhyaapi.conf import Settings
from tests.support import private_swift

MARIADB, S3 = "TESTS_ON_MARIADB", "TESTS_ON_S3"
"""Variables: port and password file of a server; endpoint and secret file of a store."""
ACCOUNT = "tests"
ALIASES = ("default", "cc")


def is_mariadb() -> bool:
    """Whether MariaDB was asked for."""
    return MARIADB in os.environ


def databases(known: dict[str, Any]) -> dict[str, Any]:
    """Django's databases, on what was asked for; those of ``known`` otherwise."""
    if not is_mariadb():
        return known
    port, password = os.environ[MARIADB].split(" ", 1)
    return {
        alias: {
            **base, "ENGINE": "django.db.backends.mysql", "NAME": "mysql", "USER": ACCOUNT, "PASSWORD": Path(password).read_text().strip(),
            "HOST": "127.0.0.1", "PORT": port, "TEST": {"NAME": _name("test", alias), "CHARSET": "utf8mb4"}, "OPTIONS": {
                "charset": "utf8mb4", "isolation_level": "read committed", "init_command": "SET sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
            },
        } for alias, base in known.items()
    }


def _name(what: str, alias: str) -> str:
    return f"{what}_{'clc' if alias == 'default' else alias}_{os.getpid()}"


# ---- databases of whole clouds


@contextlib.contextmanager
def opened(folder: Path, *, is_template: bool) -> Iterator[None]:
    """Both memories of a cloud: files of ``folder``, or databases of the server: the template's, or a copy of it."""
    before = {}
    what = "template" if is_template else "world"
    for alias in ALIASES:
        connections[alias].close()
        told = connections[alias].settings_dict
        before[alias] = told["NAME"], told["CONN_MAX_AGE"]
        file = str(folder / f"{'clc' if alias == 'default' else alias}.sqlite")
        told["NAME"], told["CONN_MAX_AGE"] = _name(what, alias) if is_mariadb() else file, None
    try:
        if is_mariadb():
            for alias in ALIASES:
                _made(alias, what)
                if not is_template:
                    _filled(alias)
        yield
    finally:
        for alias, (name, age) in before.items():
            connections[alias].close()
            connections[alias].settings_dict.update(NAME=name, CONN_MAX_AGE=age)


_there: set[str] = set()


def _made(alias: str, what: str) -> None:
    name = _name(what, alias)
    if name in _there:
        return
    _there.add(name)
    told = connections[alias].settings_dict
    told["NAME"] = "mysql"
    with connections[alias].cursor() as cursor:
        cursor.execute(f"create database {name} character set utf8mb4")
    connections[alias].close()
    told["NAME"] = name
    if what == "world":
        make_tables(alias)


def make_tables(alias: str) -> None:
    """As the models say, which is quicker than all migrations one after the other; a test of its own compares both."""
    with override_settings(MIGRATION_MODULES={app.label: None for app in apps.get_app_configs()}):
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0, skip_checks=True)


def _filled(alias: str) -> None:
    """With the rows of the template, and no others."""
    name, template = _name("world", alias), _name("template", alias)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("set foreign_key_checks = 0")
        for table in connections[alias].introspection.table_names(cursor):
            cursor.execute(f"delete from {name}.{table}")
            cursor.execute(f"insert into {name}.{table} select * from {template}.{table}")
        cursor.execute("set foreign_key_checks = 1")


# ---- objects of whole clouds


def store_at() -> tuple[str, int] | None:
    """Where the S3 store listens that was asked for."""
    at = urlsplit(os.environ[S3].split(" ", 1)[0]) if S3 in os.environ else None
    return (str(at.hostname), int(at.port or 80)) if at else None


def over(folder: Path) -> dict[str, dict[str, Any]]:
    """Settings of a cloud in that folder, by group."""
    if S3 not in os.environ:
        return {}
    endpoint, secret = os.environ[S3].split(" ", 1)
    return {"store": {
        "driver": "s3", "endpoint": endpoint, "bucket": "walrus", "prefix": folder.name.encode().hex(), "region": private_swift.REGION,
        "access_key": private_swift.ACCESS_KEY, "secret_file": secret,
    }}


def copy_objects(template: Path, folder: Path) -> None:
    """A cloud in ``folder`` has the objects of the template."""
    if S3 not in os.environ:
        return
    from walrus.drivers import STORES

    old, new = (STORES["s3"](Settings(**over(each))) for each in (template, folder))
    for name in list(old.names("")):
        new.put(name, old.get(name))
