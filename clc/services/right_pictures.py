"""Groups, access roles, grants and shares as JSON, for API and pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q, prefetch_related_objects

from clc.services.pictures import when
from luhyadb.models import AccessRole, Account, Grant, Group, Share
from luhyadb.scope import Reason

Picture = dict[str, Any]


def groups(rows: Iterable[Group]) -> list[Picture]:
    """Groups by path, with how many people belong to each itself."""
    known = list(rows)
    many = dict(Account.objects.filter(group__in=known, is_active=True).order_by().values("group").annotate(n=Count("pk")).values_list("group", "n"))
    return [{"id": row.pk, "path": row.path, "people": many.get(row.pk, 0), "created_at": when(row.created_at)} for row in known]


def roles(rows: Iterable[AccessRole]) -> list[Picture]:
    """Access roles, with how many people have each somewhere."""
    known = list(rows)
    prefetch_related_objects(known, "permissions")
    holders = {row.pk: Account.objects.filter(Q(access_role=row) | Q(grants__role=row), is_active=True).distinct().count() for row in known}
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
