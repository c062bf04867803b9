"""Accounts of a directory: made, brought up to date and deactivated as it says: the only writer of DirectoryAccount, and a writer of Account."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from clc.drivers.base import Person, same
from clc.services import events, groups, origins, people, profiles, screens, sessions, tokens
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Via
from luhyaapi.errors import Refused
from luhyadb import memory, paths
from luhyadb.models import Account, Directory, DirectoryAccount, DirectoryMapping, Group
from luhyadb.models.groups import EVERYBODY
from luhyadb.ready_made import key_of

_SHOWN = 8
_CANNOT = "You cannot sign in here"


@dataclass(frozen=True)
class Place:
    """Where somebody belongs by what their directory says, and by which line of the table. ``missing``: the path of a group that is not there yet."""

    group: str
    path: str
    role: str
    because: str
    missing: str = ""


class Table:
    """Where the people of a directory belong: what it takes is read once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._mappings = list(DirectoryMapping.objects.filter(directory=directory).select_related("group"))
        self._groups: dict[str, Group | None] = {}

    def place(self, person: Person) -> Place:
        """The first line that fits, then the units, then the default. Raises Refused(forbidden) for who fits nothing."""
        for line in self._mappings:
            values = person.values.get(line.attribute.casefold(), ())
            if same(line.value) in {same(each) for each in values}:
                return Place(line.group_id, line.group.path, line.role_id, f"{line.attribute} {line.value}")
        return self._by_units(person) or self._default(person)

    def _by_units(self, person: Person) -> Place | None:
        top = self._directory.units
        if top is None or not person.units:
            return None
        try:
            path = paths.normal(".".join(filter(None, (top.path, *(_segment(each) for each in person.units)))))
        except Refused:
            return None
        if path not in self._groups:
            self._groups[path] = Group.objects.filter(key=key_of(path)).first()
        found = self._groups[path]
        if found:
            return Place(found.pk, path, self._directory.role_id, "units")
        return self._default(person, path) if self._directory.group_id else Place("", path, self._directory.role_id, "units", path)

    def _default(self, person: Person, missing: str = "") -> Place:
        group = self._directory.group
        if group is None:
            raise Refused("forbidden", _CANNOT, f"{self._directory.name} knows {person.name[:63]}, and no mapping of it says where they belong",
                          hint="An administrator adds a mapping, or a default group, to the directory.")
        return Place(group.pk, group.path, self._directory.role_id, "default", missing)


def _segment(unit: str) -> str:
    """The name of a unit as a segment of a path: what can stand in none is a dash."""
    return "-".join("".join(c if c.isalnum() or c in "-_" else " " for c in unicodedata.normalize("NFKC", unit)).split())


def settle(directory: Directory, person: Person, place: Place) -> Account:
    """The account of somebody the directory vouches for, made or brought up to date.

    Raises Refused(forbidden) for a name that another account has, for a place that is not there and for who was deactivated by an administrator.
    """
    if place.missing and not place.group:
        raise Refused("forbidden", _CANNOT, f"there is no group {place.missing} here yet",
                      hint="An administrator makes it, or brings the people of the directory in.")
    with memory.atomic(), _of(directory):
        Directory.objects.select_for_update().get(pk=directory.pk)  # two who settle one person take turns
        admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True).values_list("pk", flat=True))
        link = _link(directory, person)
        if link is None:
            return _made(directory, person, place)
        if not link.account.is_active and not link.gone_at:
            raise Refused("forbidden", _CANNOT, f"the account {link.account.username} is deactivated", hint="Ask an administrator.")
        return _updated(link, person, place, admins)


def is_as_it_was(link: DirectoryAccount, person: Person, place: Place) -> bool:
    """Whether there is nothing to bring up to date."""
    account, about = link.account, _about(person)
    same_place = (account.group_id, account.access_role_id) == (place.group, place.role)
    return account.username == person.name and same_place and (account.display_name, account.email) == (about["display_name"], about["email"])


def account_of(name: str) -> DirectoryAccount | None:
    """Which directory knows the account of that name."""
    return DirectoryAccount.objects.select_related("account", "directory").filter(account__username__iexact=name).first()


def gone(link: DirectoryAccount) -> None:
    """Nobody is called so in the directory any more: deactivate the account, unless nobody else could manage this cloud."""
    with memory.atomic(), _of(link.directory):
        admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True).values_list("pk", flat=True))
        account = link.account
        if admins == {account.pk}:
            return
        DirectoryAccount.objects.filter(pk=link.pk).update(gone_at=clock.now())
        _deactivate(account, "is not found in its directory any more")


def let_go(by: Account, directory: Directory) -> None:
    """In a transaction of the caller's: the accounts of a directory are of this cloud alone, and deactivated until somebody gives them a password."""
    admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True).values_list("pk", flat=True))
    links = list(DirectoryAccount.objects.filter(directory=directory).select_related("account"))
    if admins and admins <= {each.account_id for each in links}:
        raise Refused("state", "The last administrator cannot be deactivated", "nobody else could manage this cloud", hint="Add another administrator first.")
    for each in links:
        if each.account.is_active:
            _deactivate(each.account, "its directory is removed", by)
    DirectoryAccount.objects.filter(directory=directory).delete()


def _deactivate(account: Account, why: str, by: Account | None = None) -> None:
    account.is_active = False
    account.save(update_fields=["is_active"])
    tokens.end_all(account)
    sessions.end_all(account)
    screens.forget(account)
    events.record("user", str(account.pk), "user deactivated", owner=account, name=account.username, why=why, actor=by)


def _of(directory: Directory) -> AbstractContextManager[None]:
    """What is changed inside is the directory's doing, whoever signs in."""
    return origins.of(origins.Origin(Via.DIRECTORY, directory.name, origins.current().request))


def key(subject: str) -> str:
    """By what somebody is found: letters of either case are different people, which not every database knows."""
    return hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()


def _link(directory: Directory, person: Person) -> DirectoryAccount | None:
    rows = DirectoryAccount.objects.select_for_update().select_related("account", "account__group")
    link = rows.filter(directory=directory, key=key(person.subject)).first()
    if link is not None and people.GONE in link.account.username:
        # the account was deleted here: whose it was begins anew
        link.delete()
        return None
    return link


def _made(directory: Directory, person: Person, place: Place) -> Account:
    _require_free(directory, person)
    account = Account(username=person.name, is_staff=place.role == people.ALL, group_id=place.group, access_role_id=place.role, **_about(person))
    account.set_unusable_password()
    account.save()
    DirectoryAccount.objects.create(account=account, directory=directory, key=key(person.subject), subject=person.subject, name=person.name,
                                    seen_at=clock.now())
    events.record("user", str(account.pk), "user added", owner=account, name=account.username, role=place.role, group=place.path, directory=directory.name)
    return account


def why_not(person: Person, names: set[str]) -> str:
    """Why somebody new cannot have an account by their name, where accounts have these already; empty: they can."""
    try:
        people.check_name(person.name)
    except Refused as e:
        return f"{person.name[:63]!r} cannot be the name of an account: {e.why}"
    return f"another account is called {person.name} already" if person.name.casefold() in names else ""


def _require_free(directory: Directory, person: Person) -> None:
    try:
        people.check_name(person.name)
    except Refused as e:
        raise Refused("forbidden", _CANNOT, f"{directory.name} calls you {person.name[:63]!r}, which cannot be the name of an account here: {e.why}",
                      hint="An administrator chooses another name attribute.") from e
    if Account.objects.filter(username__iexact=person.name).exists():
        raise Refused("forbidden", _CANNOT, f"another account is called {person.name} already, and it is not yours by being called so",
                      hint="An administrator renames one of the two, or deletes the account.")


def _about(person: Person) -> dict[str, str]:
    """What an account shows of its owner; nothing in it can pretend to be something else."""
    def shown(text: str, most: int) -> str:
        return "".join(c for c in text if c.isprintable() and unicodedata.category(c) != "Cf").strip()[:most]

    mail = shown(person.mail, 254)
    return {"display_name": shown(person.display, profiles.NAME_AT_MOST), "email": mail if mail.count("@") == 1 and " " not in mail else ""}


def _updated(link: DirectoryAccount, person: Person, place: Place, admins: set[int]) -> Account:
    account = link.account
    before = _shown(account, account.group.path)
    if account.username.casefold() != person.name.casefold() and _is_free(person.name):
        account.username = person.name
    role, group, path = place.role, place.group, place.path
    if admins == {account.pk} and role != people.ALL:
        role, group, path = people.ALL, EVERYBODY, ""  # the last administrator stays one, whatever a directory says
    account.is_staff, account.access_role_id, account.group_id = role == people.ALL, role, group
    for name, value in _about(person).items():
        setattr(account, name, value)
    after = _shown(account, path)
    if not account.is_active:
        account.is_active = True
        events.record("user", str(account.pk), "user reactivated", owner=account, name=account.username)
    if before != after:
        events.record("user", str(account.pk), "user brought up to date", owner=account, name=account.username, before=before, after=after)
        account.save(update_fields=["username", "is_staff", "access_role", "group", "display_name", "email", "is_active"])
    else:
        account.save(update_fields=["is_active"])
    DirectoryAccount.objects.filter(pk=link.pk).update(name=person.name[:255], seen_at=clock.now(), gone_at=0)
    return account


def _is_free(name: str) -> bool:
    """Whether somebody can be called so from now on; else they keep the name they had here."""
    try:
        people.check_name(name)
    except Refused:
        return False
    return not Account.objects.filter(username__iexact=name).exists()


def _shown(account: Account, path: str) -> Mapping[str, str]:
    return {"name": account.username, "role": account.access_role_id, "group": groups.shown(path), "display": account.display_name, "mail": account.email}

