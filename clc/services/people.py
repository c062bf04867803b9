"""Accounts, and tokens: the only writer of Account."""

from __future__ import annotations

import re

from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from knox.models import AuthToken

from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
ROLES = ("user", "admin")


def add(by: Account | None, username: str, password: str, role: str = "user") -> Account:
    """A new account. Raises Refused(invalid | exists | forbidden)."""
    if by is not None:
        scope.require_admin(by)
    if not _NAME.fullmatch(username):
        raise Refused("invalid", "The user name is not possible", "letters, digits, . _ @ -, at most 63", field="username")
    if role not in ROLES:
        raise Refused("invalid", "The role is not possible", f"give user or admin, not {role[:20]!r}", field="role")
    with memory.atomic():
        if Account.objects.filter(username__iexact=username).exists():
            raise Refused("exists", f"There is a user {username!r} already", field="username")
        account = Account(username=username, is_staff=role == "admin")
        _set_password(account, password)
        account.save()
    return account


def set_password(account: Account, password: str) -> None:
    """A new password; every token and session of the account ends."""
    _set_password(account, password)
    account.save(update_fields=["password"])
    AuthToken.objects.filter(user=account).delete()


def _set_password(account: Account, password: str) -> None:
    try:
        validate_password(password, account)
    except ValidationError as e:
        raise Refused("invalid", "The password is not strong enough", " ".join(e.messages), field="password") from e
    account.set_password(password)


def sign_in(username: str, password: str) -> str:
    """A token for the command line. Raises Refused(unauthenticated)."""
    account = authenticate(username=username, password=password)
    if not isinstance(account, Account):
        raise Refused("unauthenticated", "Name or password is wrong")
    return make_token(account)


def make_token(account: Account) -> str:
    """A bearer token of an account; only its hash is kept."""
    _, token = AuthToken.objects.create(user=account)
    return str(token)


def set_language(account: Account, code: str) -> None:
    """The language an account reads."""
    account.language = code
    account.save(update_fields=["language"])


def everyone(by: Account) -> list[Account]:
    """All accounts, by name."""
    scope.require_admin(by)
    return list(Account.objects.order_by("username"))
