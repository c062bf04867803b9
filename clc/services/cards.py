"""Which networks an instance has cards in: the only writer of Card."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet

from luhyaapi import ids
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, Card, Instance, Network

DEFAULT = "default"
_AT_MOST = 8


def users(row: Network) -> QuerySet[Instance]:
    """The instances that have a card in it."""
    return Instance.objects.filter(cards__network=row).exclude(state=InstanceState.DELETED).order_by("name")


def resolve(account: Account, text: str) -> Network:
    """The visible network with that id, or that unique name. Raises Refused(not_found | conflict)."""
    if ids.is_id(text, "net"):
        return scope.one(account, Network, pk=text)
    rows = scope.visible_to(account, Network).filter(live_name=text)[:2]
    if len(rows) > 1:
        raise Refused("conflict", f"Several clusters have a network {text!r}", "use the id")
    return rows[0] if rows else scope.one(account, Network, live_name=text)


def chosen(account: Account, names: Sequence[str]) -> list[Network | None]:
    """The networks an instance shall have cards in, in that order; None stands for that of the cluster's settings.

    Raises Refused(not_found | conflict), Refused(invalid) for two clusters or for one network twice.
    """
    if len(names) > _AT_MOST:
        raise Refused("invalid", "Too many networks", f"at most {_AT_MOST}", field="networks")
    if len(set(names)) < len(names):
        raise Refused("invalid", "A network is named twice", field="networks")
    found = [None if name == DEFAULT else resolve(account, name) for name in names]
    if len({each.cluster_id for each in found if each}) > 1:
        raise Refused("invalid", "The networks are of different clusters", "an instance is in one cluster", field="networks")
    if len({each and each.pk for each in found}) < len(found):
        raise Refused("invalid", "A network is named twice", field="networks")
    return found


def plug(instance: Instance, cards: Sequence[Network | None]) -> None:
    """A new instance has these cards. In a transaction of the caller's. Raises Refused(not_found) for one given up just now."""
    wanted = {each.pk for each in cards if each}
    there = set(Network.objects.select_for_update().filter(pk__in=wanted, retired_at=0).values_list("pk", flat=True))
    if wanted - there:
        raise Refused("not_found", "The network is not there any more", ", ".join(sorted(wanted - there)))
    Card.objects.bulk_create(Card(instance=instance, network=each, position=n) for n, each in enumerate(cards))


def cards_of(instance: Instance) -> tuple[str, ...]:
    """The ids of the networks it has cards in, in order; none: only that of the cluster's settings."""
    found = Card.objects.filter(instance=instance).values_list("network", flat=True)
    return tuple(each or DEFAULT for each in found)


def cluster_of(instance: Instance) -> str:
    """The cluster its networks are of; empty: any will do."""
    return Card.objects.filter(instance=instance, network__isnull=False).values_list("network__cluster", flat=True).first() or ""
