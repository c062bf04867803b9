"""API tokens: named, scoped, with an end; only their hashes are kept: the only writer of ApiToken."""

from __future__ import annotations

import hashlib
import hmac

from django.db.models import QuerySet

from clc.services import events
from luhyaapi import clock, ids
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, ApiToken

DAY_S = 24 * 3600.0
AT_MOST_S = 365 * DAY_S
SIGN_IN_S, SIGN_IN_AT_MOST_S = 30 * DAY_S, 90 * DAY_S
"""A token of the command line ends so long after it was used last, and at the latest so long after the sign-in."""
ALL, READ = "all", "read"
SCOPES = (ALL, READ)
EACH_AT_MOST = 50
"""Tokens that one account may have made; and as many sign-ins of the command line, of which the oldest makes room."""
_MARK = "eat."
"""How a token begins, so that those who look for lost secrets know one."""
_NAME_AT_MOST = 63
_NOTED_EVERY_S = 60.0


def make(account: Account, name: str, scope_: str = ALL, life_s: float = AT_MOST_S, by: Account | None = None) -> tuple[ApiToken, str]:
    """A token of one's own, or of a program that ``by`` manages, and its text, which is told this once. Raises Refused(invalid | quota)."""
    name = name.strip()
    if not name or len(name) > _NAME_AT_MOST or not name.isprintable():
        raise Refused("invalid", "The name of the token is not possible", f"1 to {_NAME_AT_MOST} printable signs", field="name")
    if scope_ not in SCOPES:
        raise Refused("invalid", "The scope is not possible", f"give all or read, not {scope_[:20]!r}", field="scope")
    if not 0 < life_s <= AT_MOST_S:
        raise Refused("invalid", "The end of the token is not possible", "it is to come, and at most 365 days away", field="days")
    with memory.atomic():
        _lock(account)
        mine = ApiToken.objects.filter(account=account, expires_at__gt=clock.now(), renewed_until=0)
        if mine.count() >= EACH_AT_MOST:
            raise Refused("quota", "You have too many tokens", f"{EACH_AT_MOST} are possible", hint="Revoke some that nobody uses.")
        row, text = _new(account, name, scope_, life_s)
        _note(row, "token made", by or account)
    return row, text


def signed_in(account: Account, name: str = "command line") -> tuple[ApiToken, str]:
    """A token for somebody who just proved who they are; renewed by use."""
    with memory.atomic():
        _lock(account)
        mine = ApiToken.objects.filter(account=account, renewed_until__gt=0).order_by("-created_at", "-pk")
        for old in mine[EACH_AT_MOST - 1 :]:
            old.delete()
        row, text = _new(account, name, ALL, SIGN_IN_S, renewed_until=clock.now() + SIGN_IN_AT_MOST_S)
        events.record("session", str(account.pk), "signed in", owner=account, actor=account, made=row.pk)
    return row, text


def _lock(account: Account) -> None:
    """Two who count the tokens of an account take turns; it must still be one."""
    if not Account.objects.select_for_update().filter(pk=account.pk, is_active=True).exists():
        raise Refused("unauthenticated", "This account is no more")


def _new(account: Account, name: str, scope_: str, life_s: float, renewed_until: float = 0) -> tuple[ApiToken, str]:
    text, now = _MARK + ids.secret(), clock.now()
    row = ApiToken.objects.create(
        id=ids.new("tok"), account=account, name=name, scope=scope_, digest=_digest(text), created_at=now, expires_at=now + life_s,
        renewed_until=renewed_until,
    )
    return row, text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def known(text: str, address: str = "") -> ApiToken | None:
    """The token of that text, with its account, when it may be used now; that it was is noted, once a minute."""
    now, sought = clock.now(), _digest(text)
    row = ApiToken.objects.select_related("account").filter(digest=sought).first()
    if row is None or not hmac.compare_digest(row.digest, sought) or row.expires_at <= now or not row.account.is_active:
        return None
    if row.used_at < now - _NOTED_EVERY_S:
        renewed = min(row.renewed_until, now + SIGN_IN_S) if row.renewed_until else row.expires_at
        ApiToken.objects.filter(pk=row.pk).update(used_at=now, used_from=address[:45] or row.used_from, expires_at=max(renewed, row.expires_at))
    return row


def of(by: Account, account: Account) -> QuerySet[ApiToken]:
    """The tokens of an account that have not ended."""
    return scope.visible_to(by, ApiToken).filter(account=account, expires_at__gt=clock.now()).select_related("account")


def revoke(by: Account, ident: str) -> None:
    """End one token, one's own or as an administrator any. Raises Refused(not_found)."""
    with memory.atomic():
        row = scope.one(by, ApiToken, pk=ident)
        _note(row, "token revoked", by)
        row.delete()


def _note(row: ApiToken, what: str, by: Account) -> None:
    events.record("user", str(row.account_id), what, owner_id=row.account_id, actor=by, made=row.pk, name=row.name, scope=row.scope)


def end_all(account: Account) -> None:
    """No token of an account can be used any more."""
    ApiToken.objects.filter(account=account).delete()


def tidy() -> None:
    """Forget tokens that have ended."""
    ApiToken.objects.filter(expires_at__lt=clock.now()).delete()
