"""Accounts: the only writer of Account.

A deleted account's row stays, since what it did keeps its owner: it is inactive, and renamed so that its name is free again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from clc.services import (
    access_roles,
    directory_links,
    events,
    grants,
    groups,
    lock_out,
    profiles,
    screens,
    second_step,
    sessions,
    tokens,
)
from clc.services.one_time import OneTimeHasher
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import AccessRole, Account, Departure, Group
from luhyadb.models.groups import EVERYBODY
from luhyadb.ready_made import key_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
GONE = "~"
"""Stands in the name of a deleted account, and can stand in no other."""
ALL = access_roles.ALL
MYSELF = "me"
_WORDS = {MYSELF: "it stands for whoever asks", "import": "it is a word of the API", "numbered": "it is a word of the API",
          "service": "it is a word of the API"}


def add(by: Account | None, username: str, password: str, role: str = "user", group: str = "") -> Account:
    """A new account with an access role over a group, by its path; empty: that of ``by``. A password chosen ``by`` somebody has to be changed first.

    Raises Refused(invalid | exists | forbidden | not_found).
    """
    where = allowed_place(by, role, group)
    check_password(username, password)
    account = Account(username=username, must_change_password=by is not None)
    account.set_password(password)
    return _added(by, account, where)


def add_service(by: Account, username: str, role: str = "user", group: str = "") -> Account:
    """An account of a program: nobody signs in to it, and who manages it makes its tokens. Raises as :func:`add`."""
    where = allowed_place(by, role, group)
    account = Account(username=username, is_service=True)
    account.set_unusable_password()
    return _added(by, account, where)


def service(by: Account, username: str) -> Account:
    """An account of a program, if ``by`` may make tokens for it: nobody makes one that may do more than they. Raises Refused(not_found | forbidden)."""
    account = find(by, username, Verb.WRITE)
    if not account.is_service:
        raise Refused("forbidden", f"{account.username} is a person", "people make their own tokens")
    grants.check_managed(by, account, Verb.WRITE)
    return account


def _added(by: Account | None, account: Account, where: Place) -> Account:
    check_name(account.username)
    with memory.atomic():
        if Account.objects.filter(username__iexact=account.username).exists():
            raise Refused("exists", f"There is a user {account.username!r} already", hint="Give another user name.", field="username")
        account.is_staff, account.group_id, account.access_role = where.role.pk == ALL, where.group, where.role
        account.save()
        what = "service account added" if account.is_service else "user added"
        events.record("user", str(account.pk), what, owner=account, name=account.username, role=where.role.pk, group=where.path, actor=by)
    return account


@dataclass(frozen=True)
class Approved:
    """Somebody who asked for an account, with the hash of the password they chose."""

    username: str
    password: str = field(repr=False)
    display_name: str
    email: str


def admit(by: Account, asked: Approved, where: Place) -> Account:
    """The account of somebody who asked for it, at a place ``by`` may give. In a transaction. Raises Refused(invalid | exists)."""
    return _added(by, Account(username=asked.username, password=asked.password, display_name=asked.display_name, email=asked.email), where)


def check_name(username: str) -> None:
    """Whether somebody may be called so. Raises Refused(invalid)."""
    if not _NAME.fullmatch(username):
        raise Refused("invalid", "The user name is not possible", "letters, digits, . _ @ -, at most 63", field="username")
    if username.casefold() in _WORDS:
        raise Refused("invalid", "The user name is not possible", _WORDS[username.casefold()], field="username")


@dataclass(frozen=True)
class New:
    """An account to be: its group by its path. ``is_made_up``: nobody chose the password."""

    username: str
    password: str = field(repr=False)
    role: str
    group: str
    is_made_up: bool


def add_many(news: Sequence[New]) -> None:
    """Accounts whose names and places were judged by :func:`check_name` and :func:`allowed_place` in this transaction. Raises Refused(exists)."""
    taken = Account.objects.filter(username__in=[each.username for each in news]).values_list("username", flat=True).first()
    if taken:
        raise Refused("exists", f"There is a user {taken!r} already", field="username")
    ids_of = dict(Group.objects.filter(key__in={key_of(each.group) for each in news}).values_list("path", "pk"))
    rows = Account.objects.bulk_create([
        Account(username=each.username, password=make_password(each.password, hasher=OneTimeHasher.algorithm if each.is_made_up else "default"),
                group_id=ids_of[each.group], access_role_id=each.role, is_staff=each.role == ALL, must_change_password=True) for each in news
    ], batch_size=500)
    for row, each in zip(rows, news, strict=True):
        events.record("user", str(row.pk), "user added", owner=row, name=row.username, role=each.role, group=each.group)


@dataclass(frozen=True)
class Place:
    """Where somebody shall be: a group by its id and path, and the access role there."""

    role: AccessRole
    group: str
    path: str


def allowed_place(by: Account | None, role: str, group: str) -> Place:
    """Where somebody shall be and what they may do there, if ``by`` may say so. Raises Refused(invalid | not_found | forbidden)."""
    given = AccessRole.objects.filter(name__iexact=role).first()
    if given is None:
        known = ", ".join(AccessRole.objects.values_list("name", flat=True)[:20])
        raise Refused("invalid", "The role is not possible", f"it is one of {known}, not {role[:20]!r}", field="role")
    if by is None:
        return Place(given, EVERYBODY, "")
    where = groups.resolve(by, group) if group else by.group
    scope.require(by, Kind.ACCOUNT, Verb.CREATE, where.pk)
    if given.pk == ALL and where.pk != EVERYBODY:
        raise Refused("invalid", f"{ALL} is of the whole cloud", f"not of {where.path} alone", hint="Give powerAdm there.", field="role")
    grants.check_within(by, given, where)
    return Place(given, where.pk, where.path)


def last_admin(account: Account) -> Refused:
    """Why the only administrator gets no smaller role."""
    return Refused("state", "The last administrator stays one", f"nobody else could manage this cloud than {account.username}")


def place(by: Account, username: str, role: str = "", group: str = "") -> Account:
    """Have somebody belong to another group, or have another access role over it; what they own stays where it is.

    Raises Refused(invalid | not_found | forbidden), Refused(state) for the last administrator.
    """
    with memory.atomic():
        admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True, is_service=False).values_list("pk", flat=True))
        account = find(by, username, Verb.WRITE)
        directory_links.require_own_place(account)
        where = allowed_place(by, role or account.access_role_id, group or groups.shown(account.group.path))
        if not by.is_admin:
            grants.check_within(by, account.access_role, account.group)
        if admins == {account.pk} and where.role.pk != ALL:
            raise last_admin(account)
        before = {"role": account.access_role_id, "group": account.group.path}
        account.is_staff, account.group_id, account.access_role = where.role.pk == ALL, where.group, where.role
        account.save(update_fields=["is_staff", "group", "access_role"])
        events.record("user", str(account.pk), "user moved", owner=account, name=account.username, role=where.role.pk, group=where.path, actor=by,
                      before=before, after={"role": where.role.pk, "group": where.path})
    return account


def set_password(account: Account, password: str, by: Account | None = None) -> None:
    """A new password, chosen by the account itself or, with ``by``, by an administrator; its tokens and sessions end.

    One that somebody else chose has to be changed first. Raises Refused(invalid), Refused(forbidden) also for one's own ``by`` oneself.
    """
    directory_links.require_own_password(account)
    if by is not None:
        if by.pk == account.pk:
            raise Refused("forbidden", "Nobody resets the password they are signed in with", "changing it needs the current one",
                          hint="Change it on your account's page, or by `educloud admin password`.")
        grants.check_managed(by, account, Verb.WRITE)
    if account.is_service:
        raise Refused("state", f"{account.username} is a program's account", "it has no password, and tokens instead")
    with memory.atomic():
        if by is None and account.must_change_password and account.check_password(password):
            raise Refused("invalid", "This is the password that has to be changed", "choose another one", field="password")
        _set_password(account, password)
        account.must_change_password = by is not None
        account.save(update_fields=["password", "must_change_password"])
        _end_sessions(account)
        lock_out.forgive(account)
        what = "password changed" if by is None else "password reset"
        events.record("user", str(account.pk), what, owner=account, name=account.username, actor=by or account)


def delete(by: Account, username: str) -> None:
    """Have an account be no more; its sessions, tokens and looks at screens end at once, its name is free again.

    Raises Refused(not_found), Refused(forbidden) for oneself, Refused(state) for the last administrator and for somebody
    who still owns what others could use; :mod:`clc.services.departures` gives that to somebody, or deletes it too.
    """
    with memory.atomic():
        account = to_end(by, username, "delete")
        if Departure.objects.filter(account=account).exists():
            raise Refused("state", f"{account.username} is being deleted with everything", hint="Wait for it, cancel it, or give what is left to somebody.")
        _require_nothing(account)
        close(account, by)


def close(account: Account, by: Account, **told: Any) -> None:
    """An account is no more, nor is what nobody else could have of it. In a transaction of whoever looked that it owns nothing."""
    from clc.services import elastic, passkeys, quotas, reservations, security_groups, shares

    for forget in (elastic.forget_owner, reservations.forget_owner, security_groups.forget_owner, grants.forget_account, shares.forget_account,
                   quotas.forget_account, second_step.forget, passkeys.forget, _end_sessions):
        forget(account)
    name = account.username
    account.username, account.is_active, account.is_staff = f"{name}{GONE}{account.pk}", False, False
    account.set_unusable_password()
    account.save(update_fields=["username", "is_active", "is_staff", "password"])
    events.record("user", str(account.pk), "user deleted", owner=account, name=name, actor=by, **told)


def deactivate(by: Account, username: str) -> None:
    """Nobody signs in to an account until :func:`reactivate`; sessions, tokens and looks at screens end at once. What it owns stays and runs.

    Raises Refused(not_found | forbidden | state) as :func:`delete`.
    """
    with memory.atomic():
        account = to_end(by, username, "deactivate")
        if not account.is_active:
            raise Refused("state", f"{account.username} is deactivated already")
        suspend(account)
        directory_links.decided(account)
        events.record("user", str(account.pk), "user deactivated", owner=account, name=account.username, actor=by)


def reactivate(by: Account, username: str) -> None:
    """Have somebody sign in again. Raises Refused(not_found | forbidden), Refused(state) for who can already."""
    with memory.atomic():
        account = find(by, username)
        grants.check_managed(by, account, Verb.WRITE)
        if Departure.objects.filter(account=account).exists():
            raise Refused("state", f"{account.username} is being deleted with everything", hint="Cancel that first.")
        if not Account.objects.filter(pk=account.pk, is_active=False).update(is_active=True):
            raise Refused("state", f"{account.username} is active already")
        directory_links.decided(account)
        events.record("user", str(account.pk), "user reactivated", owner=account, name=account.username, actor=by)


def suspend(account: Account) -> None:
    """Nobody signs in to it for now. In a transaction of whoever looked that this may be."""
    account.is_active = False
    account.save(update_fields=["is_active"])
    _end_sessions(account)


def resume(account: Account, *, active: bool) -> None:
    """It is as it was before :func:`suspend`. In a transaction."""
    account.is_active = active
    account.save(update_fields=["is_active"])


_REFUSED = {
    "delete": ("Nobody can delete the account they are signed in with", "The last administrator cannot be deleted"),
    "deactivate": ("Nobody can deactivate the account they are signed in with", "The last administrator cannot be deactivated"),
}


def to_end(by: Account, username: str, verb: str) -> Account:
    """The account to delete or deactivate, inside a transaction: not one's own, and not the last administrator."""
    # Who could be the last administrator is locked: two who end each other take turns.
    admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True, is_service=False).values_list("pk", flat=True))
    account = Account.objects.select_for_update().get(pk=find(by, username).pk)
    grants.check_managed(by, account, Verb.DELETE if verb == "delete" else Verb.WRITE)
    if account.pk == by.pk:
        raise Refused("forbidden", _REFUSED[verb][0], account.username, hint="Ask another administrator.")
    if admins == {account.pk}:
        raise Refused("state", _REFUSED[verb][1], f"nobody else could manage this cloud than {account.username}",
                      hint="Add another administrator first.")
    return account


def _require_nothing(account: Account) -> None:
    from clc.services import belongings

    piles = [pile for pile in belongings.of(account) if not pile.ends]
    if piles:
        listed = "; ".join(f"{pile.kind}: {', '.join(pile.names)}{', ...' if pile.count > len(pile.names) else ''}" for pile in piles)
        raise Refused("state", f"{account.username} still owns something", listed,
                      hint="Give it to somebody (--give-to), delete it too (--with-everything), or delete each first.")


def _end_sessions(account: Account) -> None:
    """Whoever is signed in to an account is so no more."""
    tokens.end_all(account)
    sessions.end_all(account)
    screens.forget(account)


def _set_password(account: Account, password: str) -> None:
    check_password(account.username, password)
    account.set_password(password)


def check_password(username: str, password: str) -> None:
    """Whether it is strong enough for somebody of that name. Raises Refused(invalid)."""
    try:
        validate_password(password, Account(username=username))
    except ValidationError as e:
        raise Refused("invalid", "The password is not strong enough", " ".join(e.messages), field="password") from e


def set_profile(account: Account, **given: str | None) -> None:
    """What somebody says of themselves: ``display_name``, ``email``, ``language``; what is None stays.

    Raises Refused(invalid) with the field named, Refused(state) for name and address of an account of a directory.
    """
    checks = {"display_name": profiles.display_name, "email": profiles.email, "language": profiles.language}
    said = {name: check(value) for name, check in checks.items() if (value := given.get(name)) is not None}
    before = {name: getattr(account, name) for name in said}
    if said == before:
        return
    if any(said[name] != before[name] for name in said if name != "language"):
        directory_links.require_own_profile(account)
    with memory.atomic():
        for name, value in said.items():
            setattr(account, name, value)
        account.save(update_fields=list(said))
        events.record("user", str(account.pk), "profile changed", owner=account, name=account.username, actor=account, before=before, after=said)


def known(by: Account) -> QuerySet[Account]:
    """The accounts somebody manages, without deleted ones. Raises Refused(forbidden) for who manages none."""
    if not scope.able(by).get(Kind.ACCOUNT):
        raise Refused("forbidden", "Only who manages people may do this")
    return scope.visible_to(by, Account).exclude(username__contains=GONE)


def find(by: Account, username: str, verb: Verb = Verb.READ) -> Account:
    """The account of that name, in whatever case, if that may be done with it. Raises Refused(not_found | forbidden)."""
    row = known(by).filter(username__iexact=username).first()
    if row is None:
        raise Refused("not_found", f"There is no user {username[:63]!r}", "list them by `educloud user list`")
    return scope.one(by, Account, verb, pk=row.pk)


def require_active(account: Account) -> None:
    """Inside a transaction: whether the account was not deleted since it was asked who it is. Raises Refused(unauthenticated)."""
    if not Account.objects.select_for_update().filter(pk=account.pk, is_active=True).exists():
        raise Refused("unauthenticated", "This account is no more")


def forget_group(group: Group) -> None:
    """A group is given up: who is deleted was of the one above."""
    Account.objects.filter(group=group, username__contains=GONE).update(group=group.parent_id)
