"""What there is in every cloud from its first moment: the group of everybody, and the ready-made access roles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyadb.models.groups import EVERYBODY

Permissions = Mapping[Kind, frozenset[Verb]]
_FULL = frozenset({Verb.FULL})
ROLES: dict[str, Permissions] = {
    "anonymous": {Kind.IMAGE: frozenset({Verb.READ})},
    "user": {Kind.IMAGE: frozenset({Verb.READ, Verb.EXECUTE}), Kind.INSTANCE: frozenset({Verb.CREATE})},
    "powerUser": {Kind.IMAGE: frozenset({Verb.READ, Verb.EXECUTE, Verb.WRITE}), Kind.INSTANCE: frozenset({Verb.CREATE})},
    "powerAdm": {Kind.HOST: frozenset({Verb.READ}), Kind.IMAGE: _FULL, Kind.INSTANCE: _FULL, Kind.ACCOUNT: _FULL},
    "superAdm": dict.fromkeys(Kind, _FULL),
}
"""The five actors: who looks, who uses what is there, who also makes new versions of it, who manages a part of the cloud, who manages all."""


def key_of(path: str) -> str:
    """By what a path is found."""
    return hashlib.sha256(path.encode()).hexdigest()


def have(apps: Any, using: str) -> None:
    """Make what is missing of it in a database. ``apps`` knows the models by name, as migrations and Django itself do."""
    models = {name: apps.get_model("luhyadb", name) for name in ("Group", "GroupAbove", "AccessRole", "Permission")}
    permission = models["Permission"]
    group, above, role, permissions_there = (model.objects.using(using) for model in models.values())
    group.get_or_create(pk=EVERYBODY, defaults={"path": "", "key": key_of("")})
    # By their ids: with rows in their hands Django asks whose database theirs is, and a cluster's has these tables too.
    above.get_or_create(group_id=EVERYBODY, above_id=EVERYBODY)
    for name, permissions in ROLES.items():
        _made, is_new = role.get_or_create(pk=name, defaults={"ready_made": True})
        if is_new:
            permissions_there.bulk_create(permission(role_id=name, kind=kind, verb=verb) for kind, verbs in permissions.items() for verb in sorted(verbs))
