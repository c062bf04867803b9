"""What reaches instances as JSON, for API and pages: forwards, rules, groups, public addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q

from clc.services import rules
from clc.services.elastic import COOLDOWN_S
from clc.services.pictures import fault, when
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import AddressState, InstanceState
from luhyadb.models import Access, ElasticAddress, Forward, GroupMember, Instance, SecurityGroup

Picture = dict[str, Any]


def forwards(rows: Iterable[Forward]) -> list[Picture]:
    """Forwards, each with where it is reached; ``address`` and ``port`` are None until its cluster said it."""
    return [{
        "id": row.pk, "instance": row.instance_id, "protocol": str(row.protocol), "guest_port": row.guest_port, "sources": list(row.sources),
        "address": row.address or None, "port": row.port or None, "until": when(row.until), "error": fault(row.trouble),
        "created_at": when(row.created_at),
    } for row in rows]


def groups(rows: Iterable[SecurityGroup]) -> list[Picture]:
    """Security groups with how many instances are in each."""
    known = list(rows)
    alive = ~Q(instance__state=InstanceState.DELETED)
    counted = GroupMember.objects.filter(alive, group__in=known).order_by().values("group").annotate(many=Count("pk")).values_list("group", "many")
    used = dict(counted)
    return [{
        "id": row.pk, "name": row.name, "owner": row.owner.username, "rules": [rules.show(rule) for rule in row.rules],
        "instances": used.get(row.pk, 0), "created_at": when(row.created_at), "changed_at": when(row.changed_at),
    } for row in known]


def rules_of(row: Instance) -> Picture:
    """What may reach an instance by its own rules, and by those of its groups."""
    own = Access.objects.filter(instance=row).values_list("rules", flat=True).first() or []
    members = GroupMember.objects.filter(instance=row).select_related("group")
    return {
        "id": row.pk, "rules": [rules.show(rule) for rule in own],
        "groups": [{"id": m.group_id, "name": m.group.name, "rules": [rules.show(rule) for rule in m.group.rules]} for m in members],
    }


def reached(row: Instance) -> Picture:
    """All that leads to an instance. ``pending``: its cluster has not answered the last word about it yet."""
    said = Access.objects.filter(instance=row).first()
    led = ElasticAddress.objects.filter(instance=row).values_list("address", flat=True).first()
    known = rules_of(row)
    return {
        "forwards": forwards(Forward.objects.filter(instance=row)), "rules": known["rules"], "groups": known["groups"], "elastic": led,
        "pending": bool(said and row.node and said.heard < said.number), "error": fault(said.trouble if said else None),
    }


def elastics(rows: Iterable[ElasticAddress]) -> list[Picture]:
    """Public addresses."""
    return [_elastic(row) for row in rows]


def _elastic(row: ElasticAddress) -> Picture:
    state = AddressState.FREE if row.released_at <= clock.now() - COOLDOWN_S else AddressState.RESTING
    if row.owner is not None:
        state = AddressState.ALLOCATED if row.instance is None else AddressState.ASSOCIATED
    return {
        "id": row.pk, "address": row.address, "state": str(state), "cluster": row.cluster_id, "cluster_name": row.cluster.name,
        "owner": row.owner.username if row.owner else None, "instance": row.instance_id, "instance_name": row.instance.name if row.instance else None,
        "allocated_at": when(row.allocated_at) if row.owner else None, "created_at": when(row.created_at),
    }
