"""Signing in with the password of a directory."""

from __future__ import annotations

from clc.drivers.base import Person
from clc.services import directories, directory_people
from clc.services.directory_lines import lines
from clc.services.refusals import without_place
from luhyaapi.contracts.vocabulary import DirectoryKind
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Account, Directory


def by_password(name: str, password: str) -> Account | None:
    """Whose name and password these are in a directory, as an account that is brought up to date; None where nobody's are.

    An account of this cloud is asked of no directory: its name is its own, and its password leaves for nowhere.
    Raises Refused(forbidden) for whom a directory knows and this cloud has no place for, Unavailable(directory_down).
    """
    if not password:
        return None
    link = directory_people.account_of(name)
    if link is None and Account.objects.filter(username__iexact=name).exists():
        return None
    silent: Unavailable | None = None
    for row in _asked(link.directory_id if link else ""):
        try:
            person = lines.ask(row, lambda driver: driver.signed_in(name, password))
        except Unavailable as e:
            silent = silent or e
            continue
        if person is not None:
            return _settled(row, person)
    if silent is not None:
        raise silent
    return None


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

