"""Sessions of browsers, kept where Django looks for them and listed by account: the only writer of BrowserSession."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.db.models import QuerySet

from clc.services import events
from luhyaapi import clock, ids
from luhyadb import memory, scope
from luhyadb.models import Account, BrowserSession

_ABOUT = "sign_in"
_NOTED_EVERY_S = 60.0


class SessionStore(db.SessionStore):
    """Django's sessions in a table of ours: each row says whose it is and when it was used."""

    @classmethod
    def get_model_class(cls) -> type[BrowserSession]:
        """Our table."""
        return BrowserSession

    def create(self) -> None:
        """A new key is a new row with a name of its own; the old one may still be there."""
        data = self._get_session(no_load=True)
        if _ABOUT in data:
            data[_ABOUT] = data[_ABOUT] | {"id": ids.new("ses")}
        super().create()

    def create_model_instance(self, data: dict[str, Any]) -> BrowserSession:
        """The row of a browser's session; what it says of itself stays the same however often it is saved."""
        account = data.get(SESSION_KEY)
        about = data.setdefault(_ABOUT, _about()) if account else {}
        row: BrowserSession = super().create_model_instance(data)
        row.ident = about.get("id")
        row.account_id = int(account) if account else None
        row.created_at, row.used_at = about.get("at", clock.now()), clock.now()
        row.address, row.agent = about.get("address", ""), about.get("agent", "")
        return row

    def _get_session_from_db(self) -> BrowserSession | None:
        row: BrowserSession | None = super()._get_session_from_db()
        if row is not None and row.used_at < clock.now() - _NOTED_EVERY_S:
            BrowserSession.objects.filter(pk=row.pk).update(used_at=clock.now())
        return row


def _about(address: str = "", agent: str = "") -> dict[str, Any]:
    return {"id": ids.new("ses"), "at": clock.now(), "address": address[:45], "agent": "".join(c for c in agent if c.isprintable())[:200]}


def began(session: Any, address: str, agent: str) -> None:
    """A new session of its account begins, from there."""
    session[_ABOUT] = _about(address, agent)


def signed_in(session: Any, account: Account, address: str, agent: str) -> None:
    """As :func:`began`, by proof of who it is; it is told."""
    began(session, address, agent)
    events.record("session", str(account.pk), "signed in", owner=account, actor=account, made=ident_of(session))


def signed_out(account: Account) -> None:
    """Have it recorded."""
    events.record("session", str(account.pk), "signed out", owner=account, actor=account)


def ident_of(session: Any) -> str:
    """The id of a session that is signed in; empty for another."""
    return str(session.get(_ABOUT, {}).get("id", "")) if session is not None else ""


def of(by: Account, account: Account) -> QuerySet[BrowserSession]:
    """The open sessions of an account, the one used last first."""
    now = dt.datetime.fromtimestamp(clock.now(), dt.UTC)
    return scope.visible_to(by, BrowserSession).filter(account=account, expire_date__gt=now).select_related("account").order_by("-used_at", "ident")


def end(by: Account, ident: str) -> None:
    """End one session, one's own or as an administrator any. Raises Refused(not_found)."""
    with memory.atomic():
        row = scope.one(by, BrowserSession, ident=ident)
        _note(row, by)
        row.delete()


def end_others(account: Account, but: str) -> int:
    """End the sessions of an account but one; how many."""
    with memory.atomic():
        rows = list(BrowserSession.objects.select_for_update().filter(account=account).exclude(ident=but))
        for row in rows:
            _note(row, account)
            row.delete()
    return len(rows)


def _note(row: BrowserSession, by: Account) -> None:
    events.record("user", str(row.account_id), "session ended", owner_id=row.account_id, session=row.ident, actor=by)


def end_all(account: Account) -> None:
    """Every browser of an account is signed out."""
    BrowserSession.objects.filter(account=account).delete()


def tidy() -> None:
    """Forget sessions that have ended."""
    BrowserSession.objects.filter(expire_date__lt=dt.datetime.fromtimestamp(clock.now(), dt.UTC)).delete()
