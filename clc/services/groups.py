"""The tree of groups: made, renamed, moved, given up: the only writer of Group and GroupAbove."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeVar

from django.db.models import Model, QuerySet

from clc.services import events
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, paths, scope
from luhyadb.models import Account, Group, GroupAbove, Host, Image, Instance
from luhyadb.models.groups import EVERYBODY
from luhyadb.ready_made import key_of

M = TypeVar("M", bound=Model)
_NAMED_AT_MOST = 5
SHOWN = "everybody"
"""What the group is called that all others lie below: no path of another group is so, for its segments would be a group of their own."""


def resolve(account: Account, text: str, verb: Verb = Verb.READ) -> Group:
    """The group of that path or id, if that may be done there. Raises Refused(not_found | invalid | forbidden)."""
    if ids.is_id(text, "grp"):
        return scope.one(account, Group, verb, pk=text)
    path = paths.EVERYBODY if text.strip() in ("", SHOWN) else paths.normal(text)
    # One that is there and may not be seen is told in the words of one that is not.
    found = scope.visible_to(account, Group).filter(key=key_of(path)).first()
    if found is None:
        raise Refused("not_found", f"There is no group {text[:63]!r}", "nothing you may see has that path", hint="Make it: educloud group create PATH.")
    return scope.one(account, Group, verb, pk=found.pk)


def belongs_to(account: Account, path: str, field: str = "owner_group") -> Group:
    """The group somebody says that a resource shall belong to; what is wrong with it is told at ``field``. Raises Refused(invalid | not_found)."""
    try:
        return resolve(account, path)
    except Refused as e:
        raise Refused(e.code, e.what, e.why, hint=e.hint, field=field) from e


def shown(path: str) -> str:
    """A path as people read it."""
    return path or SHOWN


def create(by: Account, text: str) -> Group:
    """A group below one that is there. Raises Refused(invalid | exists | not_found | forbidden)."""
    path = paths.normal(text)
    if path == SHOWN:
        raise Refused("invalid", "The path of a group is not possible", "it stands for all there are", field="path")
    with memory.atomic():
        _alone()
        above = _parent(by, path)
        if Group.objects.filter(key=key_of(path)).exists():
            raise Refused("exists", f"There is a group {path!r} already", field="path")
        row = Group.objects.create(id=ids.new("grp"), path=path, key=key_of(path), parent=above, created_at=clock.now())
        _link([row], above)
        events.record("group", row.pk, "group made", owner=by, path=path)
    return row


def move(by: Account, text: str, new: str) -> Group:
    """Call a group, and with it all below it, otherwise: renamed where it is, or below another group. People and resources stay in it.

    What others do meanwhile goes on: rights stand at groups and not at their paths, and all of it changes in one transaction.
    Raises Refused(invalid | exists | not_found | forbidden).
    """
    path = paths.normal(new)
    with memory.atomic():
        _alone()
        row = resolve(by, text, Verb.WRITE)
        if row.pk == EVERYBODY:
            raise Refused("invalid", "The group of everybody has no other path", field="path")
        if path == row.path:
            return row
        if paths.covers(row.path, path):
            raise Refused("invalid", "A group cannot lie below itself", f"{path} lies below {row.path}", field="path")
        above, old = _parent(by, path), row.path
        if Group.objects.filter(key=key_of(path)).exists():
            raise Refused("exists", f"There is a group {path!r} already", field="path")
        tree = list(Group.objects.filter(pk__in=GroupAbove.objects.filter(above=row).values("group")))
        for each in tree:
            each.path = paths.moved(each.path, old, path)
            paths.normal(each.path)  # deeper than before, it may be too deep
            each.key = key_of(each.path)
        Group.objects.bulk_update(tree, ["path", "key"], batch_size=500)
        if above.pk != row.parent_id:
            inside = [each.pk for each in tree]
            GroupAbove.objects.filter(group__in=inside).exclude(above__in=inside).delete()
            Group.objects.filter(pk=row.pk).update(parent=above)
            _link(tree, above)
        events.record("group", row.pk, "group moved", owner=by, path=path, before={"path": old}, after={"path": path})
        row.refresh_from_db()
    return row


def take_requests(by: Account, text: str, *, on: bool) -> Group:
    """Have anybody ask for an account in a group, or nobody any more; what was asked waits on. Raises Refused(forbidden | not_found)."""
    scope.require_admin(by)
    with memory.atomic():
        row = resolve(by, text)
        before = row.takes_requests
        Group.objects.filter(pk=row.pk).update(takes_requests=on)
        row.takes_requests = on
        if before != on:
            events.record("group", row.pk, "group opened to requests" if on else "group closed to requests", owner=by, path=shown(row.path),
                          before={"takes_requests": before}, after={"takes_requests": on})
    return row


def delete(by: Account, text: str) -> Group:
    """Give up a group that nothing belongs to; roles that were given there and what was shared with it end. Raises Refused(state | not_found | forbidden)."""
    with memory.atomic():
        _alone()
        row = resolve(by, text, Verb.DELETE)
        if row.pk == EVERYBODY:
            raise Refused("invalid", "The group of everybody cannot be given up")
        if why := ", ".join(_belongings(row)):
            raise Refused("state", f"The group {row.path} cannot be given up", why, hint="Move or delete what belongs to it first.")
        from clc.services import directories, grants, images, instances, people, shares

        if names := directories.that_name(row):
            raise Refused("state", f"The group {row.path} cannot be given up", f"directories: {', '.join(names[:_NAMED_AT_MOST])}",
                          hint="Have the people of these directories belong elsewhere first.")

        grants.forget_group(row)
        shares.forget_group(row)
        for service in (images, instances, people):
            service.forget_group(row)
        ident, path = row.pk, row.path
        row.delete()
        row.pk = ident
        events.record("group", ident, "group given up", owner=by, path=path)
    return row


def below(rows: QuerySet[Group], path: str) -> QuerySet[Group]:
    """Those of some groups that are that one or lie below it."""
    return rows.filter(pk__in=GroupAbove.objects.filter(above__key=key_of(path)).values("group"))


def belonging(rows: QuerySet[M], named: Sequence[str]) -> QuerySet[M]:
    """Those of some resources that belong to one of these groups, or to one below it."""
    keys = [key_of("" if name.strip() == SHOWN else unicodedata.normalize("NFKC", name.strip()).casefold()) for name in named if name.strip()]
    return rows.filter(group__in=GroupAbove.objects.filter(above__key__in=keys).values("group")) if keys else rows


def lineage(row: Group) -> list[str]:
    """The ids of a group and of all above it."""
    return list(GroupAbove.objects.filter(group=row).values_list("above", flat=True))


def _parent(by: Account, path: str) -> Group:
    """The group above a path, in which ``by`` may make one."""
    key = key_of(paths.parent(path))
    above = Group.objects.filter(key=key).first()
    if above is None or not scope.visible_to(by, Group).filter(pk=above.pk).exists():
        raise Refused("not_found", f"There is no group {paths.parent(path)!r}", "a group lies below one that is there",
                      hint="Make the one above first.", field="path")
    scope.require(by, Kind.ACCOUNT, Verb.CREATE, above.pk)
    return above


def _alone() -> None:
    """Nobody else changes the tree until this transaction ends."""
    Group.objects.select_for_update().get(pk=EVERYBODY)


def _link(rows: Iterable[Group], above: Group) -> None:
    """These lie below that group and all above it, and below themselves if that is not known yet."""
    over = lineage(above)
    own = [GroupAbove(group=row, above=row) for row in rows if not GroupAbove.objects.filter(group=row, above=row).exists()]
    GroupAbove.objects.bulk_create([*own, *(GroupAbove(group=row, above_id=each) for row in rows for each in over)], batch_size=1000)


def _belongings(row: Group) -> Iterable[str]:
    from clc.services.people import GONE

    live = Instance.objects.filter(group=row).exclude(state="deleted")
    there = Account.objects.filter(group=row).exclude(username__contains=GONE)
    for noun, rows, name in (
        ("groups below it", Group.objects.filter(parent=row), "path"), ("people", there, "username"),
        ("machines", live, "name"), ("images", Image.objects.filter(group=row, retired=False), "name"), ("hosts", Host.objects.filter(group=row), "name"),
    ):
        if names := list(rows.values_list(name, flat=True)[: _NAMED_AT_MOST + 1]):
            yield f"{noun}: {', '.join(names[:_NAMED_AT_MOST])}{', ...' if len(names) > _NAMED_AT_MOST else ''}"
