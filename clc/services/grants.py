"""Who has which access role where: the only writer of Grant. Nobody gives what they have not."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from clc.services import access_roles, events, groups
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import AccessRole, Account, Grant, Group, Permission


def give(by: Account, account: Account, role: str, at: str) -> Grant:
    """Give somebody an access role over a group and all below it; given twice, it is the same. Raises Refused(forbidden | not_found)."""
    with memory.atomic():
        where = groups.resolve(by, at)
        scope.require(by, Kind.ACCOUNT, Verb.WRITE, where.pk)
        given = access_roles.find(role)
        check_within(by, given, where)
        if given.pk == access_roles.ALL:
            raise Refused("invalid", f"{given.pk} is of the whole cloud", f"not of {groups.shown(where.path)} alone", hint="Give powerAdm there.", field="role")
        row, is_new = Grant.objects.get_or_create(account=account, role=given, group=where, defaults={"id": ids.new("gra"), "created_at": clock.now()})
        if is_new:
            events.record("user", str(account.pk), "access role given", owner=account, name=account.username, role=given.pk, at=groups.shown(where.path),
                          actor=by)
    return row


def take(by: Account, ident: str) -> Grant:
    """Take a given role back. Raises Refused(not_found | forbidden)."""
    with memory.atomic():
        row = over(by).filter(pk=ident).select_related("account", "group").first()
        if row is None:
            raise Refused("not_found", f"There is no grant {ident[:63]!r}", "nothing you may see has that id")
        scope.require(by, Kind.ACCOUNT, Verb.WRITE, row.group_id)
        check_within(by, row.role, row.group)
        events.record("user", str(row.account_id), "access role taken back", owner=row.account, name=row.account.username, role=row.role_id,
                      at=groups.shown(row.group.path), actor=by)
        row.delete()
        row.pk = ident
    return row


def over(by: Account) -> QuerySet[Grant]:
    """The grants somebody may see: their own, and those at groups whose people they see."""
    rows = Grant.objects.all()
    return rows if by.is_admin else rows.filter(Q(account=by) | Q(group__in=scope.reach(by, Kind.ACCOUNT, Verb.READ)))


def forget_group(group: Group) -> None:
    """A group is given up, and with it what was given there. In a transaction of the caller's."""
    Grant.objects.filter(group=group).delete()


def check_managed(by: Account, account: Account, verb: Verb) -> None:
    """Whether ``by`` may do that with an account, and could give all it may do: nobody takes over who may do more. Raises Refused(forbidden | not_found)."""
    scope.one(by, Account, verb, pk=account.pk)
    check_within(by, account.access_role, account.group)
    for each in Grant.objects.filter(account=account).select_related("role", "group"):
        check_within(by, each.role, each.group)


def check_within(by: Account, role: AccessRole, where: Group) -> None:
    """Whether ``by`` has all that a role gives, over that group. Raises Refused(forbidden) naming what is missing."""
    if by.is_admin:
        return
    if role.pk == access_roles.ALL:
        raise Refused("forbidden", f"You may not give the access role {role.pk} there", "Only an administrator may do this",
                      hint="Nobody gives more than they have.")
    for kind, verb in Permission.objects.filter(role=role).order_by("kind", "verb").values_list("kind", "verb"):
        if not scope.reach(by, Kind(kind), Verb(verb)).filter(group=where.pk).exists():
            raise Refused("forbidden", f"You may not give the access role {role.pk} there", f"you have no {verb} of {kind} in {groups.shown(where.path)}",
                          hint="Nobody gives more than they have.")
