"""Accounts: the only writer of Account.

A deleted account's row stays, since what it did keeps its owner: it is inactive, and renamed so that its name is free again.
"""

from __future__ import annotations

import re

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from clc.services import events, lock_out, screens, second_step, sessions, tokens
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, Instance

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_GONE = "~"
"""Stands in the name of a deleted account, and can stand in no other."""
ROLES = ("user", "admin")
MYSELF = "me"
_NAMED_AT_MOST = 10


def add(by: Account | None, username: str, password: str, role: str = "user") -> Account:
    """A new account; a password chosen ``by`` somebody has to be changed first. Raises Refused(invalid | exists | forbidden)."""
    if by is not None:
        scope.require_admin(by)
    if not _NAME.fullmatch(username):
        raise Refused("invalid", "The user name is not possible", "letters, digits, . _ @ -, at most 63", field="username")
    if username.casefold() == MYSELF:
        raise Refused("invalid", "The user name is not possible", "it stands for whoever asks", field="username")
    if role not in ROLES:
        raise Refused("invalid", "The role is not possible", f"give user or admin, not {role[:20]!r}", field="role")
    with memory.atomic():
        if Account.objects.filter(username__iexact=username).exists():
            raise Refused("exists", f"There is a user {username!r} already", field="username")
        account = Account(username=username, is_staff=role == "admin", must_change_password=by is not None)
        _set_password(account, password)
        account.save()
        events.record("user", str(account.pk), "user added", owner=account, name=username, role=role, by=by.username if by else "")
    return account


def set_password(account: Account, password: str, by: Account | None = None) -> None:
    """A new password, chosen by the account itself or, with ``by``, by an administrator; its tokens and sessions end.

    One that somebody else chose has to be changed first. Raises Refused(invalid), Refused(forbidden) also for one's own ``by`` oneself.
    """
    if by is not None:
        scope.require_admin(by)
        if by.pk == account.pk:
            raise Refused("forbidden", "Nobody resets the password they are signed in with", "changing it needs the current one",
                          hint="Change it on your account's page, or by `educloud admin password`.")
    with memory.atomic():
        if by is None and account.must_change_password and account.check_password(password):
            raise Refused("invalid", "This is the password that has to be changed", "choose another one", field="password")
        _set_password(account, password)
        account.must_change_password = by is not None
        account.save(update_fields=["password", "must_change_password"])
        _end_sessions(account)
        lock_out.forgive(account)
        what = "password changed" if by is None else "password reset"
        events.record("user", str(account.pk), what, owner=account, name=account.username, by=(by or account).username)


def delete(by: Account, username: str) -> None:
    """Have an account be no more; its sessions, tokens and looks at screens end at once, its name is free again.

    Raises Refused(not_found), Refused(forbidden) for oneself, Refused(state) for the last administrator and for somebody
    who still has instances.
    """
    scope.require_admin(by)
    with memory.atomic():
        account = _to_end(by, username, "delete")
        _require_no_instances(account)
        from clc.services import elastic, reservations, security_groups

        elastic.forget_owner(account)
        reservations.forget_owner(account)
        security_groups.forget_owner(account)
        _end_sessions(account)
        second_step.forget(account)
        name = account.username
        account.username, account.is_active, account.is_staff = f"{name}{_GONE}{account.pk}", False, False
        account.set_unusable_password()
        account.save(update_fields=["username", "is_active", "is_staff", "password"])
        events.record("user", str(account.pk), "user deleted", owner=account, name=name, by=by.username)


def deactivate(by: Account, username: str) -> None:
    """Nobody signs in to an account until :func:`reactivate`; sessions, tokens and looks at screens end at once. What it owns stays and runs.

    Raises Refused(not_found | forbidden | state) as :func:`delete`.
    """
    scope.require_admin(by)
    with memory.atomic():
        account = _to_end(by, username, "deactivate")
        if not account.is_active:
            raise Refused("state", f"{account.username} is deactivated already")
        account.is_active = False
        account.save(update_fields=["is_active"])
        _end_sessions(account)
        events.record("user", str(account.pk), "user deactivated", owner=account, name=account.username, by=by.username)


def reactivate(by: Account, username: str) -> None:
    """Have somebody sign in again. Raises Refused(not_found | forbidden), Refused(state) for who can already."""
    with memory.atomic():
        account = find(by, username)
        if not Account.objects.filter(pk=account.pk, is_active=False).update(is_active=True):
            raise Refused("state", f"{account.username} is active already")
        events.record("user", str(account.pk), "user reactivated", owner=account, name=account.username, by=by.username)


_REFUSED = {
    "delete": ("Nobody can delete the account they are signed in with", "The last administrator cannot be deleted"),
    "deactivate": ("Nobody can deactivate the account they are signed in with", "The last administrator cannot be deactivated"),
}


def _to_end(by: Account, username: str, verb: str) -> Account:
    """The account to delete or deactivate, inside a transaction: not one's own, and not the last administrator."""
    # Who could be the last administrator is locked: two who end each other take turns.
    admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True).values_list("pk", flat=True))
    account = Account.objects.select_for_update().get(pk=find(by, username).pk)
    if account.pk == by.pk:
        raise Refused("forbidden", _REFUSED[verb][0], account.username, hint="Ask another administrator.")
    if admins == {account.pk}:
        raise Refused("state", _REFUSED[verb][1], f"nobody else could manage this cloud than {account.username}",
                      hint="Add another administrator first.")
    return account


def _require_no_instances(account: Account) -> None:
    rows = Instance.objects.filter(owner=account).exclude(state=InstanceState.DELETED)
    count = rows.count()
    if not count:
        return
    named = ", ".join(f"{i.name} ({i.pk})" for i in rows[:_NAMED_AT_MOST]) + (", ..." if count > _NAMED_AT_MOST else "")
    raise Refused("state", f"{account.username} still has instances", named,
                  hint="Delete them first, each by `educloud instance delete ID` or in the console.")


def _end_sessions(account: Account) -> None:
    """Whoever is signed in to an account is so no more."""
    tokens.end_all(account)
    sessions.end_all(account)
    screens.forget(account)


def _set_password(account: Account, password: str) -> None:
    try:
        validate_password(password, account)
    except ValidationError as e:
        raise Refused("invalid", "The password is not strong enough", " ".join(e.messages), field="password") from e
    account.set_password(password)


def set_language(account: Account, code: str) -> None:
    """The language an account reads."""
    account.language = code
    account.save(update_fields=["language"])


def known(by: Account) -> QuerySet[Account]:
    """All accounts but deleted ones. Raises Refused(forbidden)."""
    scope.require_admin(by)
    return scope.visible_to(by, Account).exclude(username__contains=_GONE)


def find(by: Account, username: str) -> Account:
    """The account of that name, in whatever case. Raises Refused(not_found | forbidden)."""
    row = known(by).filter(username__iexact=username).first()
    if row is None:
        raise Refused("not_found", f"There is no user {username[:63]!r}", "list them by `educloud user list`")
    return row


def require_active(account: Account) -> None:
    """Inside a transaction: whether the account was not deleted since it was asked who it is. Raises Refused(unauthenticated)."""
    if not Account.objects.select_for_update().filter(pk=account.pk, is_active=True).exists():
        raise Refused("unauthenticated", "This account is no more")
