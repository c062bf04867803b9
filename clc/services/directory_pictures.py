"""Directories as JSON, for API and pages: never with their secret."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q

from clc.services import directories, directory_checks, groups
from clc.services.pictures import when
from luhyadb.models import Directory, DirectoryAccount, DirectoryMapping

Picture = dict[str, Any]


def directory(row: Directory) -> Picture:
    """One directory, with its table and how its people were found last."""
    many = DirectoryAccount.objects.filter(directory=row, account__is_active=True).count()
    return {
        "id": row.pk, "name": row.name, "kind": row.kind, "enabled": row.enabled, "settings": directories.settings_of(row).model_dump(),
        "has_secret": bool(row.secret), "role": row.role_id, "group": None if row.group is None else groups.shown(row.group.path),
        "units": None if row.units is None else groups.shown(row.units.path), "people": many,
        "mappings": [mapping(each) for each in DirectoryMapping.objects.filter(directory=row).select_related("group")],
        "created_at": when(row.created_at), "checked_at": when(row.checked_at) if row.checked_at else None,
        "trouble": str(row.checked.get("trouble", "")), "missing": int(row.checked.get("missing", 0)), "held": list(row.checked.get("held", ())),
    }


def mapping(row: DirectoryMapping) -> Picture:
    """One line of the table."""
    return {"id": row.pk, "attribute": row.attribute, "value": row.value, "group": groups.shown(row.group.path), "role": row.role_id}


def listed(rows: list[Directory]) -> list[Picture]:
    """Many directories, in short."""
    active = Count("accounts", filter=Q(accounts__account__is_active=True))
    many = dict(Directory.objects.order_by().annotate(n=active).values_list("pk", "n"))
    return [{
        "id": row.pk, "name": row.name, "kind": row.kind, "enabled": row.enabled, "people": many.get(row.pk, 0),
        "address": row.settings.get("uri") or row.settings.get("issuer", ""), "trouble": str(row.checked.get("trouble", "")),
        "missing": int(row.checked.get("missing", 0)), "checked_at": when(row.checked_at) if row.checked_at else None,
    } for row in rows]


def steps(done: list[directory_checks.Step]) -> Picture:
    """What a test found."""
    return {"ok": all(each.ok for each in done), "steps": [{"ok": e.ok, "text": e.text, "why": e.why, "hint": e.hint} for e in done]}


def batch(found: directory_checks.Batch, *, done: bool) -> Picture:
    """What becomes, or became, of everybody."""
    lines = [{"username": e.username, "action": str(e.action), "why": e.why, "group": groups.shown(e.group) if e.action != "wrong" else "", "role": e.role}
             for e in found.looked]
    return {"done": done, "counts": found.counts(), "new_groups": list(found.new_groups), "lines": lines}


def checked(found: directory_checks.Checked) -> Picture:
    """Who was found."""
    return {"accounts": found.accounts, "deactivated": list(found.deactivated), "held": list(found.held)}
