"""Signing in with the password of a directory."""

from __future__ import annotations

from clc.drivers.base import Person
from clc.services import directories, directory_people
from clc.services.directory_lines import lines
from clc.services.refusals import without_place
from luhyaapi import log
from luhyaapi.contracts.vocabulary import DirectoryKind
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Account, Directory

_log = log.get(__name__)


def by_password(name: str, password: str) -> Account | None:
    """Whose name and password these are in a directory, as an account that is brought up to date; None where nobody's are.

    The password of an account of this cloud leaves for nowhere; its name is looked up all the same, so that nobody learns from the time or from
    a directory that is down which names are here. Raises Refused(forbidden) for whom a directory knows and this cloud has no place for,
    Unavailable(directory_down), which tells a stranger no more than its name.
    """
    if not password:
        return None
    link = directory_people.account_of(name)
    is_ours = link is None and Account.objects.filter(username__iexact=name).exists()
    silent: Unavailable | None = None
    for row in _asked(link.directory_id if link else ""):
        try:
            person = lines.ask(row, lambda driver: driver.named(name) if is_ours else driver.signed_in(name, password))
        except Unavailable as e:
            _log.warning("a directory does not answer", directory=row.name, why=e.why)
            silent = silent or Unavailable(e.code, e.what, hint="Try again in a while; accounts of this cloud sign in as always.")
            continue
        if person is not None and not is_ours:
            return _settled(row, person)
    if silent is not None:
        raise silent
    return None


def is_of_one(name: str) -> bool:
    """Whether an account came from a directory: it cannot be blamed for one that is down."""
    return directory_people.account_of(name) is not None


def _asked(only: str) -> list[Directory]:
    """The one an account is of, else all; that one alone, for its people are nobody else's."""
    rows = directories.in_use(DirectoryKind.LDAP)
    return [row for row in rows if not only or row.pk == only]


def _settled(row: Directory, person: Person) -> Account:
    try:
        return directory_people.settle(row, person, directory_people.Table(row).place(person))
    except Refused as e:
        if e.code == "forbidden":
            without_place(row.name, e)
        raise

