"""Who somebody is: name and password, then the second step, each attempt counted. The same work is done for names nobody has."""

from __future__ import annotations

import contextlib
import hmac
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password

from clc.services import directory_sign_in, lock_out, provider_sign_in, refusals, second_step, tokens
from luhyaapi import clock
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Account, ApiToken

_TURNS = threading.BoundedSemaphore(4)
"""One check of a password takes 100 MiB for a moment: nobody shall fill the memory by asking."""
_TURN_WITHIN_S = 5.0
_CODE_WITHIN_S = 300.0


def by_password(username: str, password: str, address: str = "") -> Account:
    """The account of a name and its password; it may have a second step, and then its count of wrong attempts stays.

    Raises Refused(unauthenticated | locked_out), Unavailable(busy).
    """
    account: Account | None = None
    try:
        with _attempt(username, address):
            account = _checked(username, password)
            second_step.check(account, "")
    except Refused as e:
        if account is None or e.code != "second_step":
            raise
    return account


@contextlib.contextmanager
def _attempt(username: str, address: str) -> Iterator[None]:
    """One that counts. While a directory is down nobody can tell whether it was wrong: it counts unless the account came from there."""
    silent: Unavailable | None = None
    try:
        with lock_out.attempt(username, address):
            try:
                yield
            except Unavailable as e:
                if e.code != "directory_down" or directory_sign_in.is_of_one(username):
                    raise
                silent = e
                raise Refused("unauthenticated", e.what) from e
    except Refused as e:
        if silent is not None and e.code == "unauthenticated":
            raise silent from None
        raise


def by_both(username: str, password: str, code: str, address: str = "") -> Account:
    """The account of a name, its password, and its code where it has a second step.

    Raises Refused(unauthenticated | second_step | locked_out), Unavailable(busy).
    """
    with _attempt(username, address):
        account = _checked(username, password)
        second_step.check(account, code)
    return account


def halved(account: Account) -> dict[str, Any]:
    """What a session keeps of somebody whose password was right, until the code is."""
    return {"account": account.pk, "hash": account.get_session_auth_hash(), "at": clock.now()}


def half(kept: Mapping[str, Any]) -> Account | None:
    """The account of :func:`halved`, within five minutes, while its password is the same."""
    account = Account.objects.filter(pk=kept["account"], is_active=True).first()
    is_fresh = kept["at"] > clock.now() - _CODE_WITHIN_S
    return account if account and is_fresh and hmac.compare_digest(kept["hash"], account.get_session_auth_hash()) else None


def by_code(account: Account, code: str, address: str = "") -> None:
    """The second step of somebody whose password was right. Raises Refused(unauthenticated | second_step | locked_out)."""
    with lock_out.attempt(account.username, address):
        second_step.check(account, code)


def again(account: Account, password: str, address: str = "", field: str = "current_password") -> None:
    """Whether it is still who signed in. Raises Refused(invalid) with the field named, Refused(locked_out), Unavailable(busy).

    An account of a directory proves it there: of LDAP by its password, of a provider by signing in there once more, in the browser.
    """
    if row := provider_sign_in.of(account):
        raise Refused("invalid", f"Sign in at {row.name} once more", "this account has no password here", field=field,
                      hint="Your account's page leads there; the proof is good for five minutes in that browser.")
    try:
        by_password(account.username, password, address)
    except Refused as e:
        if e.code != "unauthenticated":
            raise
        raise Refused("invalid", "The current password is wrong", field=field) from e


def token(username: str, password: str, code: str = "", address: str = "") -> tuple[ApiToken, str]:
    """A token for the command line. Raises as :func:`by_both`."""
    return tokens.signed_in(by_both(username, password, code, address))


def hashed(password: str) -> str:
    """What is kept of a password somebody chose; it waits for its turn as a check does. Raises Unavailable(busy)."""
    with _turn():
        return make_password(password)


def _checked(username: str, password: str) -> Account:
    with _turn():
        account = authenticate(username=username, password=password)
    if not isinstance(account, Account):
        account = directory_sign_in.by_password(username, password)
    if account is None:
        refusals.sign_in(username)
        raise Refused("unauthenticated", "Name or password is wrong", hint="Try again, or have an administrator set a new password.")
    return account


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    if not _TURNS.acquire(timeout=_TURN_WITHIN_S):
        raise Unavailable("busy", "Too many sign in at the same moment")
    try:
        yield
    finally:
        _TURNS.release()
