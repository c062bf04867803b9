"""Somebody without an account asks for one, and who may add people there decides: the only writer of AccountRequest.

Anybody may ask for the groups that an administrator opened to requests, and for no other; as long as none is open, nobody. What is asked tells nothing
of who is here: a name that is taken is noticed by who approves. The applicant chooses the password, of which only the hash is kept,
so that nobody else ever knows it and nothing has to be handed over; they look at the state with a code that they alone have.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from django.db.models import QuerySet

from clc.services import events, groups, lock_out, people, profiles, sign_in
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import RequestState
from luhyaapi.errors import Refused, Unavailable
from luhyadb import memory, scope
from luhyadb.models import Account, AccountRequest, Group

KEPT_S = 14 * 24 * 3600.0
"""A request nobody decided ends after this; one that was decided is told that long."""
AT_MOST, EACH_PLACE, EACH_HOUR = 1000, 100, 40
"""Requests that wait, in all and from one address; and those from one address in an hour: a class that asks in one lesson shares an address."""
_WORDS_AT_MOST = 500


@dataclass(frozen=True)
class Ask:
    """What somebody asks for; ``group`` is the path of one that is open to requests."""

    username: str
    password: str = field(repr=False)
    group: str
    display_name: str = ""
    email: str = ""
    reason: str = ""


def places() -> QuerySet[Group]:
    """The groups anybody may ask for."""
    return Group.objects.filter(takes_requests=True).order_by("path")


def ask(asked: Ask, address: str) -> str:
    """Keep a request; the code with which its state is looked at, told this once.

    Raises Refused(not_found) for a group that takes none, Refused(invalid | quota), Unavailable(busy).
    """
    where = next((each for each in places() if groups.shown(each.path) == asked.group.strip()), None)
    if where is None:
        raise Refused("not_found", "No account can be asked for there", "that group takes no requests", field="group")
    people.check_name(asked.username)
    name, email, reason = profiles.display_name(asked.display_name), profiles.email(asked.email), _words(asked.reason, "reason")
    people.check_password(asked.username, asked.password)
    place, code = lock_out.place(address), ids.secret()
    _check_bounds(place)
    hashed = sign_in.hashed(asked.password)
    with memory.atomic():
        Group.objects.select_for_update().get(pk=where.pk)
        _check_bounds(place)
        row = AccountRequest.objects.create(
            id=ids.new("req"), username=asked.username, display_name=name, email=email, reason=reason, group=where, password=hashed,
            proof=_digest(code), place=place, created_at=clock.now(),
        )
        events.record("request", row.pk, "account asked for", name=row.username, group=groups.shown(where.path))
    return code


def _check_bounds(place: str) -> None:
    rows = AccountRequest.objects.filter(place=place)
    lately = rows.filter(created_at__gt=clock.now() - 3600).count()
    waiting = AccountRequest.objects.filter(state=RequestState.WAITING)
    if lately >= EACH_HOUR or waiting.filter(place=place).count() >= EACH_PLACE:
        raise Refused("quota", "Too many accounts are asked for from here", f"at most {EACH_HOUR} an hour, and {EACH_PLACE} that wait", hint="Try again later.")
    if waiting.count() >= AT_MOST:
        raise Unavailable("busy", "Too many requests for accounts wait", f"at most {AT_MOST}")


def looked_at(code: str) -> AccountRequest:
    """The request of that code. Raises Refused(not_found)."""
    row = AccountRequest.objects.filter(proof=_digest(code.strip()), created_at__gt=clock.now() - 2 * KEPT_S).select_related("account", "group").first()
    if row is None:
        raise Refused("not_found", "There is no request with this code", "the code is wrong, or the request is too old", field="code")
    return row


def known(by: Account) -> QuerySet[AccountRequest]:
    """The requests somebody may decide or look at: for groups in which they may add people."""
    return scope.visible_to(by, AccountRequest).select_related("group", "account")


def waiting(by: Account) -> int:
    """How many wait for somebody's decision."""
    return known(by).filter(state=RequestState.WAITING).count()


def approve(by: Account, ident: str, role: str = "user", group: str = "", username: str = "") -> Account:
    """Make the account, in that group (empty: the one that was asked for) with that role, called otherwise where ``username`` says so.

    Raises Refused(not_found | forbidden | invalid | exists), Refused(state) for one that was decided.
    """
    with memory.atomic():
        row = _undecided(by, ident)
        where = people.allowed_place(by, role, group or groups.shown(row.group.path))
        account = people.admit(by, people.Approved(username or row.username, row.password, row.display_name, row.email), where)
        _decide(row, by, RequestState.APPROVED, account=account, username=account.username)
        events.record("request", row.pk, "request approved", owner=account, name=account.username, group=groups.shown(where.path), role=where.role.pk)
    return account


def refuse(by: Account, ident: str, why: str) -> AccountRequest:
    """Have no account made; the applicant is told ``why``. Raises Refused(not_found | invalid), Refused(state) for one that was decided."""
    told = _words(why, "why")
    if not told:
        raise Refused("invalid", "A reason is needed", "the applicant is told it", field="why")
    with memory.atomic():
        row = _undecided(by, ident)
        _decide(row, by, RequestState.REFUSED, why=told)
        events.record("request", row.pk, "request refused", name=row.username, group=groups.shown(row.group.path), why=told)
    return row


def _undecided(by: Account, ident: str) -> AccountRequest:
    """A request, nobody else's to decide until the transaction ends."""
    found = scope.one(by, AccountRequest, pk=ident)
    row = AccountRequest.objects.select_for_update().select_related("group").get(pk=found.pk)
    if row.state != RequestState.WAITING:
        raise Refused("state", "This request was decided already", f"{row.decided_by}: {row.state}")
    return row


def _decide(row: AccountRequest, by: Account, state: RequestState, **said: object) -> None:
    changes = {"state": state, "decided_by": by.username, "decided_at": clock.now(), "password": "", **said}
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))


def tidy() -> None:
    """Forget requests that nobody decided in time, and those that were decided long ago."""
    then = clock.now() - KEPT_S
    AccountRequest.objects.filter(state=RequestState.WAITING, created_at__lt=then).delete()
    AccountRequest.objects.exclude(state=RequestState.WAITING).filter(decided_at__lt=then).delete()


def _words(text: str, name: str) -> str:
    words = " ".join(text.split())
    if not words.isprintable() or len(words) > _WORDS_AT_MOST:
        raise Refused("invalid", "The text is not possible", f"at most {_WORDS_AT_MOST} signs, none of them unseen", field=name)
    return words


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
