"""What the installation does inside a role: ``python -m deploy.admin migrate|certify|create-admin|...``, see :func:`main`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from deploy.host.plan import bracketed
from luhyaapi import conf, ids
from luhyaapi.contracts.vocabulary import Role, Via
from luhyaapi.errors import Trouble, Unavailable
from luhyaapi.wire import identity, joining

ADMIN = "admin"


def main(argv: list[str]) -> int:
    """Run one step; every step may be run again."""
    parser = argparse.ArgumentParser(prog="deploy.admin")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("unsettled")
    verbs.add_parser("migrate")
    verbs.add_parser("certify")
    verbs.add_parser("create-admin").add_argument("--password-file", type=Path, required=True)
    verbs.add_parser("join-token").add_argument("--role", required=True)
    verbs.add_parser("client-context").add_argument("--file", type=Path, required=True)
    verbs.add_parser("certify-door").add_argument("--host", required=True)
    verbs.add_parser("tls-request")
    given = parser.parse_args(argv)
    if given.verb == "tls-request":  # of any role, and a machine with a node alone has no Django
        print(joining.tls_request(conf.load()))
        return 0
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")
    import django

    django.setup()
    from clc.services import origins

    try:
        with origins.of(origins.Origin(Via.SHELL, os.uname().nodename)):
            _VERBS[given.verb](given)
    except Trouble as e:
        sys.stderr.write(f"{e.what}\n{e.why}\n{e.hint}\n")
        return 1
    return 0


def _unsettled(_given: argparse.Namespace) -> None:
    """Print what the databases of this role lack, a line each; nothing: they are as this version wants them."""
    from django.conf import settings as django_settings
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    from luhyadb import memory
    from luhyadb.models import Account, Host

    settings = conf.load()
    held = identity.Membership.load(settings.host.identity)
    try:
        for alias in django_settings.DATABASES:
            executor = MigrationExecutor(connections[alias])
            for lacking, _ in executor.migration_plan(executor.loader.graph.leaf_nodes()):
                print(f"{alias} {lacking}")
                return
        if settings.host.role is Role.CLC and not (held and Host.objects.filter(pk=held.host).exists()):
            print("the host of the CLC itself")
        if settings.host.role is Role.CLC and not Account.objects.filter(is_staff=True).exists():
            print("an administrator")
    except memory.AWAY as e:
        raise Unavailable("busy", "The database does not answer", str(e), hint="Start it, then `make up` again.") from e


def _migrate(_given: argparse.Namespace) -> None:
    from django.conf import settings as django_settings
    from django.core.management import call_command

    from luhyadb import memory

    for alias in django_settings.DATABASES:
        with memory.of(alias) if alias != "default" else contextlib.nullcontext():
            call_command("migrate", database=alias, verbosity=0, skip_checks=True)
    settings = conf.load()
    if settings.host.role is Role.CLC:
        (settings.host.state / "static").mkdir(exist_ok=True)
        from clc.services import hosts, own

        own.make(settings.host.state)
        hosts.ensure_own(settings.host.name or os.uname().nodename)


def _certify(_given: argparse.Namespace) -> None:
    from clc.services import own

    settings = conf.load()
    own.make(settings.host.state)
    own.make_tls(settings.host.state, {settings.host.address, os.uname().nodename, "localhost"})


def _create_admin(given: argparse.Namespace) -> None:
    from clc.services import people
    from luhyaapi.files import write_atomic
    from luhyadb.models import Account

    if Account.objects.filter(is_staff=True).exists():
        return
    password = ids.secret()
    write_atomic(given.password_file, f"{password}\n".encode())
    people.add(None, ADMIN, password, people.ALL)


def _join_token(given: argparse.Namespace) -> None:
    from clc.services import hosts

    print(hosts.make_token(None, given.role)[0])


def _context(given: argparse.Namespace) -> None:
    from clc.services import tokens
    from deploy.cli import contexts
    from luhyadb.models import Account

    settings = conf.load()
    account = Account.objects.filter(is_staff=True, is_active=True).order_by("pk").first()
    if account is None:
        raise SystemExit("there is no administrator yet")
    host = settings.host
    url = f"http{'s' if host.tls else ''}://{bracketed(host.address)}:{settings.console.port}"
    contexts.save(contexts.Context("local", url, tokens.signed_in(account)[1], user=account.username), given.file)


def _certify_door(given: argparse.Namespace) -> None:
    """Sign what :func:`joining.tls_request` says on standard input: a host that joined gets a certificate for its doors."""
    from clc.services import own

    me = own.load(conf.load().host.state)
    print(identity.certify_tls(me.authority_key, me.authority, sys.stdin.read(), given.host), end="")


_VERBS = {
    "unsettled": _unsettled, "migrate": _migrate, "certify": _certify, "create-admin": _create_admin, "join-token": _join_token, "client-context": _context,
    "certify-door": _certify_door,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
