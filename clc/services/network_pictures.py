"""Networks as JSON, for API and pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any

from django.db.models import Count, prefetch_related_objects

from clc.services.pictures import board, when
from clc.services.pools import Pool
from luhyaapi import subnets
from luhyaapi.contracts.reports import LeasesFacts
from luhyaapi.contracts.specs import USAGE
from luhyaapi.contracts.vocabulary import InstanceState, LeaseState, NetworkMode
from luhyadb.models import Card, Host, Network, Reservation

Picture = dict[str, Any]


def networks(rows: Iterable[Network]) -> list[Picture]:
    """Pictures of many networks, with two more queries in all and one look at the board."""
    known = list(rows)
    prefetch_related_objects(known, "cluster")
    cards = Card.objects.filter(network__in=known).exclude(instance__state=InstanceState.DELETED).order_by()
    used = dict(cards.values("network").annotate(many=Count("instance", distinct=True)).values_list("network", "many"))
    pools = _pools({each.cluster_id for each in known})
    return [_network(each, used.get(each.pk, 0), pools.get((each.cluster_id, each.pk))) for each in known]


def own(clusters: Iterable[Host]) -> list[Picture]:
    """Pictures of the networks that clusters have by their settings; of one that was not heard yet there is none."""
    known = [each for each in clusters if each.subnet]
    pools = _pools({each.pk for each in known})
    return [_own(each, {name: pools.get((each.pk, name)) for name in ("default", "ports", "displays")}) for each in known]


def _pools(clusters: Iterable[str]) -> dict[tuple[str, str], Picture]:
    """What clusters said last of how much they lend, by cluster and pool."""
    said = board().read([f"host:{each}" for each in sorted(clusters)])
    return {(key.removeprefix("host:"), each["pool"]): each for key, facts in said.items() for each in facts.get("pools", ())}


def _network(row: Network, used: int, pool: Picture | None) -> Picture:
    subnet = subnets.subnet_of(row.subnet)
    lent = sum(int(IPv4Address(last)) - int(IPv4Address(first)) + 1 for first, last in row.ranges) if row.ranges else subnet.num_addresses - 3
    return {
        "id": row.pk, "name": row.name, "mode": str(row.mode), "cluster": row.cluster_id, "cluster_name": row.cluster.name,
        "number": row.number, "subnet": row.subnet, "subnet6": row.subnet6, "gateway": row.gateway or subnets.gateway_of(subnet),
        "ranges": ["-".join(each) for each in row.ranges],
        "macs": _macs(row.cluster_id, row.subnet), "way_out": row.way_out, "isolated": row.isolated, "addresses": lent, "instances": used,
        "pool": pool, "ports": [], "created_at": when(row.created_at),
    }


def _own(row: Host, pools: Mapping[str, Picture | None]) -> Picture:
    subnet, pool = subnets.subnet_of(row.subnet), pools["default"]
    return {
        "id": row.pk, "name": "default", "mode": str(NetworkMode.CLUSTER), "cluster": row.pk, "cluster_name": row.name, "number": 0,
        "subnet": row.subnet, "subnet6": row.subnet6, "gateway": subnets.gateway_of(subnet), "ranges": [], "macs": _macs(row.pk, row.subnet), "way_out": True,
        "isolated": False, "addresses": subnet.num_addresses - 3, "instances": pool["lent"] if pool else 0, "pool": pool,
        "ports": [each for each in (pools["ports"], pools["displays"]) if each], "created_at": None,
    }


def _macs(cluster: str, text: str) -> str:
    """The first and the last MAC that belong to addresses of a subnet."""
    subnet = subnets.subnet_of(text)
    return f"{subnets.mac_of(cluster, str(subnet.network_address + 2))}-{subnets.mac_of(cluster, str(subnet.broadcast_address - 1))}"


def usage(pool: Pool, facts: LeasesFacts) -> Picture:
    """How each address stands, as stretches of equal ones, and how many there are of each."""
    first = int(pool.subnet.network_address) + 1
    stretches, at = [], first
    for sign, equal in itertools.groupby(facts.usage):
        many = len(list(equal))
        stretches.append({"state": str(USAGE[sign]), "first": str(IPv4Address(at)), "last": str(IPv4Address(at + many - 1)), "count": many})
        at += many
    counts = {str(state): facts.usage.count(sign) for sign, state in USAGE.items() if state is not LeaseState.GATEWAY}
    return {"id": pool.ident, "name": pool.name, "subnet": str(pool.subnet), "counts": counts, "stretches": stretches}


def reservations(rows: Iterable[Reservation]) -> list[Picture]:
    """Pictures of reservations."""
    known = list(rows)
    prefetch_related_objects(known, "owner")
    return [
        {"address": row.address, "mac": row.mac or "", "owner": row.owner.username if row.owner else "", "name": row.name, "created_at": when(row.created_at)}
        for row in known
    ]
