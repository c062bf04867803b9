"""Groups, access roles, grants and shares as JSON, for API and pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, F, prefetch_related_objects

from clc.services import grants as grants_service
from clc.services import groups as groups_service
from clc.services.pictures import when
from luhyaapi.contracts.vocabulary import InstanceState
from luhyadb import scope
from luhyadb.models import AccessRole, Account, Grant, Group, Image, Instance, Share
from luhyadb.scope import Reason

Picture = dict[str, Any]
_NAMED_OVER, _NAMED = 200, 5
"""How many people with a role over a group are looked at for their names, and how many of each role there are named."""


def groups(by: Account, rows: Iterable[Group]) -> list[Picture]:
    """Groups by path, with how many people whom somebody sees belong to each itself."""
    known = list(rows)
    seen = scope.visible_to(by, Account).filter(group__in=known, is_active=True)
    many = dict(seen.order_by().values("group").annotate(n=Count("pk")).values_list("group", "n"))
    return [{"id": row.pk, "path": row.path, "people": many.get(row.pk, 0), "takes_requests": row.takes_requests,
             "created_at": when(row.created_at)} for row in known]


def belongings(by: Account, rows: Iterable[Group]) -> dict[str, Picture]:
    """How many people, machines and images that somebody sees belong to each of some groups itself, by their ids."""
    known = list(rows)
    found: dict[str, Picture] = {row.pk: {"people": 0, "instances": 0, "images": 0} for row in known}
    for name, those in (
        ("people", scope.visible_to(by, Account).filter(is_active=True)), ("instances", scope.visible_to(by, Instance).exclude(state=InstanceState.DELETED)),
        ("images", scope.visible_to(by, Image).filter(retired=False)),
    ):
        for group, many in those.filter(group__in=known).order_by().values_list("group").annotate(n=Count("pk")):
            found[group][name] = many
    return found


def over(by: Account, row: Group) -> list[Picture]:
    """Who, of those whom somebody sees, has which access role over a group, and from where: given, or as one who belongs to it or to one above."""
    above = groups_service.lineage(row)
    given = grants_service.over(by).filter(group__in=above, account__is_active=True).select_related("account", "group").order_by("group__path", "role", "pk")
    found = [{"people": 1, "names": [r.account.username], "role": r.role_id, "group": r.group.path, "given": True} for r in given[:_NAMED_OVER]]
    those = scope.visible_to(by, Account).filter(group__in=above, is_active=True)
    names: dict[tuple[str, str], list[str]] = {}
    for role, path, name in those.order_by("group__path", "access_role", "username").values_list("access_role", "group__path", "username")[:_NAMED_OVER]:
        names.setdefault((role, path), []).append(name)
    counted = those.order_by("group__path", "access_role").values_list("access_role", "group__path").annotate(n=Count("pk"))
    return found + [
        {"people": many, "names": names.get((role, path), [])[:_NAMED], "role": role, "group": path, "given": False} for role, path, many in counted
    ]


def roles(by: Account, rows: Iterable[AccessRole]) -> list[Picture]:
    """Access roles, with how many people whom somebody sees have each somewhere."""
    known = list(rows)
    prefetch_related_objects(known, "permissions")
    holders = {row.pk: 0 for row in known}
    seen = scope.visible_to(by, Account).filter(is_active=True)
    own = seen.filter(access_role__in=known).order_by().values_list("access_role").annotate(n=Count("pk"))
    beside = Grant.objects.filter(role__in=known, account__in=seen.values("pk")).exclude(account__access_role=F("role")).order_by().values_list("role")
    for name, many in (*own, *beside.annotate(n=Count("account", distinct=True))):
        holders[name] += many
    return [
        {"name": row.pk, "ready_made": row.ready_made, "description": row.description, "permissions": _permissions(row), "people": holders[row.pk]}
        for row in known
    ]


def _permissions(row: AccessRole) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in sorted(row.permissions.all(), key=lambda p: (p.kind, p.verb)):
        found.setdefault(str(each.kind), []).append(str(each.verb))
    return found


def grants(rows: Iterable[Grant]) -> list[Picture]:
    """Who has which role where."""
    known = list(rows)
    prefetch_related_objects(known, "account", "group")
    return [{"id": r.pk, "user": r.account.username, "role": r.role_id, "group": r.group.path, "created_at": when(r.created_at)} for r in known]


def shares(rows: Iterable[Share]) -> list[Picture]:
    """With whom single resources are shared."""
    known = list(rows)
    prefetch_related_objects(known, "account", "group")
    return [
        {"id": r.pk, "kind": str(r.kind), "subject": r.subject, "verb": str(r.verb), "user": r.account.username if r.account else None,
         "group": r.group.path if r.group else None, "created_at": when(r.created_at)} for r in known
    ]


def reasons(found: Iterable[Reason]) -> list[Picture]:
    """Why somebody may."""
    return [{"by": each.by, "role": each.name, "at": each.at, "verb": each.verb} for each in found]
