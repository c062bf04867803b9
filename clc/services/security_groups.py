"""Rules that several instances share, and who is in which group: the only writer of SecurityGroup and GroupMember."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from django.db.models import QuerySet

from clc.services import access, events, people, rules
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, GroupMember, Instance, SecurityGroup

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_OF_ONE_OWNER = 100
_OF_ONE_INSTANCE = 8
_NAMED = 5


def create(account: Account, name: str, given: Sequence[Mapping[str, str]] = ()) -> SecurityGroup:
    """A new group. Raises Refused(invalid | exists | quota)."""
    if not _NAME.fullmatch(name):
        raise Refused("invalid", "The name is not possible", "letters, digits, dot, dash and underscore, at most 63", field="name")
    kept = rules.read(given)
    with memory.atomic():
        people.require_active(account)
        names = set(SecurityGroup.objects.filter(owner=account).values_list("name", flat=True))
        if name in names:
            raise Refused("exists", f"You have a security group {name!r} already", field="name")
        if len(names) >= _OF_ONE_OWNER:
            raise Refused("quota", "You have too many security groups", f"at most {_OF_ONE_OWNER}")
        now = clock.now()
        row = SecurityGroup.objects.create(id=ids.new("sgr"), owner=account, name=name, rules=kept, created_at=now, changed_at=now)
        events.record("group", row.pk, "security group made", owner=account, name=name, rules=len(kept), after={"rules": kept})
    return row


def members(row: SecurityGroup) -> QuerySet[Instance]:
    """The instances that are in it."""
    return Instance.objects.filter(groups__group=row).exclude(state=InstanceState.DELETED).order_by("name")


def resolve(account: Account, text: str) -> SecurityGroup:
    """The visible group with that id, or that name: one's own first, else the only one called so. Raises Refused(not_found | conflict)."""
    if ids.is_id(text, "sgr"):
        return scope.one(account, SecurityGroup, pk=text)
    named = scope.visible_to(account, SecurityGroup).filter(name=text)
    mine = named.filter(owner=account).first()
    if mine is None and named.count() > 1:
        raise Refused("conflict", f"Several people have a security group {text!r}", "use the id")
    return mine or scope.one(account, SecurityGroup, name=text)


def set_rules(account: Account, ident: str, given: Sequence[Mapping[str, str]]) -> SecurityGroup:
    """Other rules for all that are in a group. Raises Refused(not_found | invalid | quota | state)."""
    kept = rules.read(given)
    with memory.atomic():
        row = _taken(account, ident)
        _change(row, kept)
    return row


def add_rule(account: Account, ident: str, given: Mapping[str, str]) -> SecurityGroup:
    """One rule more. Raises Refused(not_found | invalid | exists | quota | state)."""
    (rule,) = rules.read([given])
    with memory.atomic():
        row = _taken(account, ident)
        if rule in row.rules:
            raise Refused("exists", f"The group has this rule already: {rules.line(rules.show(rule))}", field="rules")
        if len(row.rules) >= rules.AT_MOST:
            raise Refused("quota", "Too many rules", f"at most {rules.AT_MOST}", field="rules")
        _change(row, [*row.rules, rule])
    return row


def remove_rule(account: Account, ident: str, given: Mapping[str, str]) -> SecurityGroup:
    """One rule less. Raises Refused(invalid | state), Refused(not_found) for a rule it does not have."""
    (rule,) = rules.read([given])
    with memory.atomic():
        row = _taken(account, ident)
        if rule not in row.rules:
            raise Refused("not_found", f"The group has no rule {rules.line(rules.show(rule))}", field="rules")
        _change(row, [each for each in row.rules if each != rule])
    return row


def _taken(account: Account, ident: str) -> SecurityGroup:
    found = resolve(account, ident)
    return SecurityGroup.objects.select_for_update().get(pk=found.pk)


def _change(row: SecurityGroup, kept: list[rules.Kept]) -> None:
    before = row.rules
    row.rules, row.changed_at = kept, clock.now()
    SecurityGroup.objects.filter(pk=row.pk).update(rules=kept, changed_at=row.changed_at)
    events.record("group", row.pk, "security rules changed", owner_id=row.owner_id, name=row.name, rules=len(kept),
                  before={"rules": before}, after={"rules": kept})
    access.changed(members(row))


def delete(account: Account, ident: str) -> SecurityGroup:
    """Have a group be no more. Raises Refused(not_found), Refused(state) while instances are in it."""
    with memory.atomic():
        row = _taken(account, ident)
        names = list(members(row).values_list("name", flat=True))
        if names:
            raise Refused("state", "The security group cannot be deleted", f"{len(names)} instances are in it: {', '.join(names[:_NAMED])}",
                          hint="Take them out first, or delete them.")
        GroupMember.objects.filter(group=row).delete()
        SecurityGroup.objects.filter(pk=row.pk).delete()
        events.record("group", row.pk, "security group deleted", owner_id=row.owner_id, name=row.name)
    return row


def chosen(account: Account, names: Sequence[str], owner: int | None = None) -> list[SecurityGroup]:
    """The groups of these ids or names, each once; ``owner``: whose instance shall be in them, the account's own when left out.

    Raises Refused(not_found | conflict | invalid).
    """
    if len(names) > _OF_ONE_INSTANCE:
        raise Refused("invalid", "Too many security groups", f"an instance is in at most {_OF_ONE_INSTANCE}", field="groups")
    found = {row.pk: row for row in (resolve(account, name) for name in names)}
    for row in found.values():
        if row.owner_id not in (account.pk, owner):
            raise Refused("invalid", f"The security group {row.name} is somebody else's", "its owner could open the instance", field="groups")
    return list(found.values())


def join(row: Instance, groups: Sequence[SecurityGroup]) -> None:
    """A new instance is in these groups from its start. In a transaction of the caller's. Raises Refused(not_found) for one deleted just now."""
    if not groups:
        return
    there = set(SecurityGroup.objects.select_for_update().filter(pk__in=[each.pk for each in groups]).values_list("pk", flat=True))
    if missing := [each.name for each in groups if each.pk not in there]:
        raise Refused("not_found", "The security group is not there any more", ", ".join(missing), field="groups")
    GroupMember.objects.bulk_create(GroupMember(group=each, instance=row) for each in groups)
    access.changed([row])


def set_groups(account: Account, ident: str, names: Sequence[str]) -> Instance:
    """Have an instance be in these groups and no others; in one it is in already it may stay, whosever that is.

    Raises Refused(not_found | conflict | invalid | quota | state).
    """
    with memory.atomic():
        row = access.held(account, ident)
        there = {each.group_id: each.group for each in GroupMember.objects.filter(instance=row).select_related("group")}
        groups = [there[name] for name in dict.fromkeys(names) if name in there]
        groups += [each for each in chosen(account, [name for name in names if name not in there], row.owner_id) if each.pk not in there]
        if len(groups) > _OF_ONE_INSTANCE:
            raise Refused("invalid", "Too many security groups", f"an instance is in at most {_OF_ONE_INSTANCE}", field="groups")
        GroupMember.objects.filter(instance=row).delete()
        join(row, groups)
        events.record("instance", row.pk, "security groups changed", owner_id=row.owner_id, groups=[each.name for each in groups],
                      before={"groups": sorted(each.name for each in there.values())}, after={"groups": sorted(each.name for each in groups)})
        if not groups:
            access.changed([row])
    return row


def forget(row: Instance) -> None:
    """An instance is no more."""
    GroupMember.objects.filter(instance=row).delete()


def hand_over(of: Account, to: Account) -> None:
    """The groups of somebody are somebody else's from now on; called otherwise where that name is taken. In a transaction. Raises Refused(quota)."""
    taken = set(SecurityGroup.objects.filter(owner=to).values_list("name", flat=True))
    rows = list(SecurityGroup.objects.filter(owner=of))
    if rows and len(taken) + len(rows) > _OF_ONE_OWNER:
        raise Refused("quota", f"{to.username} would have too many security groups", f"at most {_OF_ONE_OWNER}")
    for row in rows:
        name = f"{row.name[:54]}-{row.pk[-8:]}" if row.name in taken else row.name
        SecurityGroup.objects.filter(pk=row.pk).update(owner=to, name=name)
        events.record("group", row.pk, "security group given", owner=to, before={"owner": of.username, "name": row.name},
                      after={"owner": to.username, "name": name})


def forget_owner(account: Account) -> None:
    """Somebody without instances is no more, nor are their groups; others' instances that were in them are told so. In a transaction of the caller's."""
    others = list(Instance.objects.filter(groups__group__owner=account).exclude(state=InstanceState.DELETED).distinct())
    GroupMember.objects.filter(group__owner=account).delete()
    SecurityGroup.objects.filter(owner=account).delete()
    access.changed(others, must=False)
