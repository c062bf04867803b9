"""Named sets of permissions: the only writer of AccessRole and Permission."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from django.db.models import QuerySet

from clc.services import events
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import AccessRole, Account, Grant, Permission

ALL = "superAdm"
"""The access role of who may do everything, also what belongs to no group; it is everywhere or nowhere."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")


def create(by: Account, name: str, permissions: Mapping[str, Sequence[str]], description: str = "") -> AccessRole:
    """A role of one's own: verbs by kind. Raises Refused(forbidden | invalid | exists)."""
    scope.require_admin(by)
    if not _NAME.fullmatch(name):
        raise Refused("invalid", "The name is not possible", "a letter, then letters, digits and dashes, at most 63", field="name")
    found = _read(permissions)
    with memory.atomic():
        if AccessRole.objects.filter(name__iexact=name).exists():
            raise Refused("exists", f"There is an access role {name!r} already", field="name")
        row = AccessRole.objects.create(name=name, description=description[:200])
        _have(row, found)
        events.record("access-role", name, "access role made", owner=by, permissions=_said(found))
    return row


def change(by: Account, name: str, permissions: Mapping[str, Sequence[str]]) -> AccessRole:
    """Other permissions for all who have it, at once. Raises Refused(forbidden | invalid | not_found | state)."""
    scope.require_admin(by)
    found = _read(permissions)
    with memory.atomic():
        row = _own(name)
        Permission.objects.filter(role=row).delete()
        _have(row, found)
        events.record("access-role", row.pk, "access role changed", owner=by, permissions=_said(found))
    return row


def delete(by: Account, name: str) -> None:
    """Give up a role that nobody has. Raises Refused(forbidden | not_found | state)."""
    scope.require_admin(by)
    with memory.atomic():
        row = _own(name)
        holders = {*Grant.objects.filter(role=row).values_list("account__username", flat=True),
                   *Account.objects.filter(access_role=row).values_list("username", flat=True)}
        if holders:
            raise Refused("state", f"The access role {row.pk} is in use", f"{len(holders)} people have it: {', '.join(sorted(holders)[:5])}",
                          hint="Give them another one first.")
        from clc.services import directories

        if names := directories.that_give(row):
            raise Refused("state", f"The access role {row.pk} is in use", f"directories give it: {', '.join(names[:5])}",
                          hint="Have them give another one first.")
        events.record("access-role", row.pk, "access role given up", owner=by)
        row.delete()


def known() -> QuerySet[AccessRole]:
    """All access roles: what each gives is no secret."""
    return AccessRole.objects.all()


def givable(by: Account) -> list[str]:
    """The names of the roles of which somebody has all that they give, over some group: those they may give there."""
    held = scope.held(by)
    wanted: dict[str, list[tuple[Kind, Verb]]] = {name: [] for name in AccessRole.objects.values_list("name", flat=True)}
    for role, kind, verb in Permission.objects.values_list("role", "kind", "verb"):
        wanted[role].append((Kind(kind), Verb(verb)))
    return [name for name, each in wanted.items() if held.is_all or any(all(held.may(*one, path) for one in each) for path in held.by_path)]


def find(name: str) -> AccessRole:
    """The role of that name, in whatever case. Raises Refused(not_found)."""
    row = AccessRole.objects.filter(name__iexact=name).first()
    if row is None:
        raise Refused("not_found", f"There is no access role {name[:63]!r}", "list them by `educloud access-role list`")
    return row


def permissions_of(row: AccessRole) -> dict[str, list[str]]:
    """Its verbs by kind."""
    found: dict[str, list[str]] = {}
    for kind, verb in Permission.objects.filter(role=row).order_by("kind", "verb").values_list("kind", "verb"):
        found.setdefault(kind, []).append(verb)
    return found


def _own(name: str) -> AccessRole:
    row = find(name)
    if row.ready_made:
        raise Refused("state", f"The access role {row.pk} is ready-made", "it is the same in every cloud", hint="Make one of your own.")
    return row


def _read(permissions: Mapping[str, Sequence[str]]) -> dict[Kind, set[Verb]]:
    for kind, verbs in permissions.items():
        if kind not in list(Kind):
            raise Refused("invalid", "A kind is not possible", f"it is one of {', '.join(Kind)}, not {kind[:20]!r}", field="permissions")
        if wrong := next((verb for verb in verbs if verb not in list(Verb)), None):
            raise Refused("invalid", "A verb is not possible", f"it is one of {', '.join(Verb)}, not {wrong[:20]!r}", field="permissions")
    return {Kind(kind): {Verb(verb) for verb in verbs} for kind, verbs in permissions.items() if verbs}


def _have(row: AccessRole, found: Mapping[Kind, set[Verb]]) -> None:
    Permission.objects.bulk_create(Permission(role=row, kind=kind, verb=verb) for kind, verbs in found.items() for verb in sorted(verbs))


def _said(found: Mapping[Kind, set[Verb]]) -> list[str]:
    return [f"{kind}: {', '.join(sorted(verbs))}" for kind, verbs in sorted(found.items())]
