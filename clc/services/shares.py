"""Single resources that are open to a person, or to all who belong to a group: the only writer of Share."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet

from clc.services import events, groups
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, Group, Image, Instance, Share

_POSSIBLE: dict[type[Image | Instance], tuple[Verb, ...]] = {
    Image: (Verb.READ, Verb.EXECUTE, Verb.WRITE), Instance: (Verb.READ, Verb.EXECUTE, Verb.WRITE),
}


def share(by: Account, row: Image | Instance, verbs: Sequence[str], *, person: str = "", group: str = "") -> list[Share]:
    """Let somebody, or all of a group and below it, do these with one resource. Who shares may change it, and do what they share.

    Raises Refused(forbidden | not_found | invalid).
    """
    possible = _POSSIBLE[type(row)]
    if not verbs or any(verb not in possible for verb in verbs):
        raise Refused("invalid", "That cannot be shared", f"it is one or more of {', '.join(possible)}", field="verbs")
    if bool(person) == bool(group):
        raise Refused("invalid", "With whom?", "give a user or a group", field="user")
    scope.one(by, type(row), Verb.WRITE, pk=row.pk)
    for verb in verbs:
        scope.one(by, type(row), Verb(verb), pk=row.pk)
    kind = scope.KINDS[type(row)]
    with memory.atomic():
        to = {"account": _person(by, person)} if person else {"group": groups.resolve(by, group)}
        made = []
        for verb in dict.fromkeys(verbs):
            each, is_new = Share.objects.get_or_create(kind=kind, subject=row.pk, verb=verb, **to, defaults={"id": ids.new("shr"), "created_at": clock.now()})
            made.append(each)
            if is_new:
                events.record(str(kind), row.pk, "shared", owner=row.owner, name=row.name, verb=str(verb), with_=_with(each))
    return made


def open_to(row: Image | Instance, group: Group, verbs: Sequence[Verb]) -> None:
    """A new resource is open to a group from its beginning. In a transaction of the caller's."""
    kind, now = scope.KINDS[type(row)], clock.now()
    Share.objects.bulk_create(Share(id=ids.new("shr"), kind=kind, subject=row.pk, verb=verb, group=group, created_at=now) for verb in verbs)


def end(by: Account, ident: str) -> Share:
    """Share it no more. Raises Refused(not_found | forbidden)."""
    with memory.atomic():
        row = Share.objects.filter(pk=ident).select_related("account", "group").first()
        missing = Refused("not_found", f"There is no share {ident[:63]!r}", "nothing you may see has that id")
        if row is None:
            raise missing
        model = Image if row.kind == Kind.IMAGE else Instance
        if not scope.visible_to(by, model).filter(pk=row.subject).exists():
            raise missing
        of = scope.one(by, model, Verb.WRITE, pk=row.subject)
        events.record(str(row.kind), row.subject, "shared no more", owner=of.owner, name=of.name, verb=str(row.verb), with_=_with(row))
        row.delete()
        row.pk = ident
    return row


def forget_group(group: Group) -> None:
    """A group is given up, and nothing is shared with it any more. In a transaction of the caller's."""
    Share.objects.filter(group=group).delete()


def forget_account(account: Account) -> None:
    """Somebody is no more, and nothing is shared with them. In a transaction of the caller's."""
    Share.objects.filter(account=account).delete()


def of(row: Image | Instance) -> QuerySet[Share]:
    """With whom a resource is shared."""
    return Share.objects.filter(kind=scope.KINDS[type(row)], subject=row.pk).select_related("account", "group")


def _with(row: Share) -> str:
    return row.account.username if row.account else groups.shown(row.group.path)


def _person(by: Account, username: str) -> Account:
    """Somebody ``by`` sees, or who is in the same group."""
    found = Account.objects.filter(username__iexact=username, is_active=True).first()
    if found is None or not (found.group_id == by.group_id or scope.visible_to(by, Account).filter(pk=found.pk).exists()):
        raise Refused("not_found", f"There is no user {username[:63]!r}", "nobody you may see has that name", field="user")
    return found
