"""Accounts: the only writer of Account.

A deleted account's row stays, since what it did keeps its owner: it is inactive, and renamed so that its name is free again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from clc.services import access_roles, events, grants, groups, lock_out, screens, second_step, sessions, tokens
from clc.services.one_time import OneTimeHasher
from luhyaapi.contracts.vocabulary import InstanceState, Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import AccessRole, Account, Group, Instance
from luhyadb.models.groups import EVERYBODY
from luhyadb.ready_made import key_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
GONE = "~"
"""Stands in the name of a deleted account, and can stand in no other."""
ALL = access_roles.ALL
MYSELF = "me"
_WORDS = {MYSELF: "it stands for whoever asks", "import": "it is a word of the API", "numbered": "it is a word of the API"}
_NAMED_AT_MOST = 10


def add(by: Account | None, username: str, password: str, role: str = "user", group: str = "") -> Account:
    """A new account with an access role over a group, by its path; empty: that of ``by``. A password chosen ``by`` somebody has to be changed first.

    Raises Refused(invalid | exists | forbidden | not_found).
    """
    where = allowed_place(by, role, group)
    check_name(username)
    with memory.atomic():
        if Account.objects.filter(username__iexact=username).exists():
            raise Refused("exists", f"There is a user {username!r} already", field="username")
        account = Account(username=username, is_staff=where.role.pk == ALL, group_id=where.group, access_role=where.role,
                          must_change_password=by is not None)
        _set_password(account, password)
        account.save()
        events.record("user", str(account.pk), "user added", owner=account, name=username, role=where.role.pk, group=where.path, actor=by)
    return account


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


def place(by: Account, username: str, role: str = "", group: str = "") -> Account:
    """Have somebody belong to another group, or have another access role over it; what they own stays where it is.

    Raises Refused(invalid | not_found | forbidden), Refused(state) for the last administrator.
    """
    from clc.services import directory_people

    with memory.atomic():
        admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True).values_list("pk", flat=True))
        account = find(by, username, Verb.WRITE)
        directory_people.require_own_place(account)
        where = allowed_place(by, role or account.access_role_id, group or groups.shown(account.group.path))
        if not by.is_admin:
            grants.check_within(by, account.access_role, account.group)
        if admins == {account.pk} and where.role.pk != ALL:
            raise Refused("state", "The last administrator stays one", f"nobody else could manage this cloud than {account.username}")
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
    from clc.services import directory_people

    directory_people.require_own_password(account)
    if by is not None:
        if by.pk == account.pk:
            raise Refused("forbidden", "Nobody resets the password they are signed in with", "changing it needs the current one",
                          hint="Change it on your account's page, or by `educloud admin password`.")
        grants.check_managed(by, account, Verb.WRITE)
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
    who still has instances.
    """
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
        account.username, account.is_active, account.is_staff = f"{name}{GONE}{account.pk}", False, False
        account.set_unusable_password()
        account.save(update_fields=["username", "is_active", "is_staff", "password"])
        events.record("user", str(account.pk), "user deleted", owner=account, name=name, actor=by)


def deactivate(by: Account, username: str) -> None:
    """Nobody signs in to an account until :func:`reactivate`; sessions, tokens and looks at screens end at once. What it owns stays and runs.

    Raises Refused(not_found | forbidden | state) as :func:`delete`.
    """
    from clc.services import directory_people

    with memory.atomic():
        account = _to_end(by, username, "deactivate")
        if not account.is_active:
            raise Refused("state", f"{account.username} is deactivated already")
        account.is_active = False
        account.save(update_fields=["is_active"])
        directory_people.decided(account)
        _end_sessions(account)
        events.record("user", str(account.pk), "user deactivated", owner=account, name=account.username, actor=by)


def reactivate(by: Account, username: str) -> None:
    """Have somebody sign in again. Raises Refused(not_found | forbidden), Refused(state) for who can already."""
    from clc.services import directory_people

    with memory.atomic():
        account = find(by, username)
        grants.check_managed(by, account, Verb.WRITE)
        if not Account.objects.filter(pk=account.pk, is_active=False).update(is_active=True):
            raise Refused("state", f"{account.username} is active already")
        directory_people.decided(account)
        events.record("user", str(account.pk), "user reactivated", owner=account, name=account.username, actor=by)


_REFUSED = {
    "delete": ("Nobody can delete the account they are signed in with", "The last administrator cannot be deleted"),
    "deactivate": ("Nobody can deactivate the account they are signed in with", "The last administrator cannot be deactivated"),
}


def _to_end(by: Account, username: str, verb: str) -> Account:
    """The account to delete or deactivate, inside a transaction: not one's own, and not the last administrator."""
    # Who could be the last administrator is locked: two who end each other take turns.
    admins = set(Account.objects.select_for_update().filter(is_staff=True, is_active=True).values_list("pk", flat=True))
    account = Account.objects.select_for_update().get(pk=find(by, username).pk)
    grants.check_managed(by, account, Verb.DELETE if verb == "delete" else Verb.WRITE)
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
    check_password(account.username, password)
    account.set_password(password)


def check_password(username: str, password: str) -> None:
    """Whether it is strong enough for somebody of that name. Raises Refused(invalid)."""
    try:
        validate_password(password, Account(username=username))
    except ValidationError as e:
        raise Refused("invalid", "The password is not strong enough", " ".join(e.messages), field="password") from e


def set_language(account: Account, code: str) -> None:
    """The language an account reads."""
    account.language = code
    account.save(update_fields=["language"])


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
