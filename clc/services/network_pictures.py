"""Networks as JSON, for API and pages."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from django.db.models import Count, prefetch_related_objects

from clc.services.pictures import when
from luhyaapi import subnets
from luhyaapi.contracts.vocabulary import InstanceState
from luhyadb.models import Card, Network

Picture = dict[str, Any]


def networks(rows: Iterable[Network]) -> list[Picture]:
    """Pictures of many networks, with two more queries in all."""
    known = list(rows)
    prefetch_related_objects(known, "cluster")
    cards = Card.objects.filter(network__in=known).exclude(instance__state=InstanceState.DELETED).order_by()
    used = dict(cards.values("network").annotate(many=Count("instance", distinct=True)).values_list("network", "many"))
    return [_network(each, used.get(each.pk, 0)) for each in known]


def _network(row: Network, used: int) -> Picture:
    subnet = subnets.subnet_of(row.subnet)
    lent = sum(int(IPv4Address(last)) - int(IPv4Address(first)) + 1 for first, last in row.ranges) if row.ranges else subnet.num_addresses - 3
    return {
        "id": row.pk, "name": row.name, "mode": str(row.mode), "cluster": row.cluster_id, "cluster_name": row.cluster.name,
        "number": row.number, "subnet": row.subnet, "gateway": row.gateway or subnets.gateway_of(subnet), "ranges": ["-".join(each) for each in row.ranges],
        "way_out": row.way_out, "isolated": row.isolated, "addresses": lent, "instances": used, "created_at": when(row.created_at),
    }
