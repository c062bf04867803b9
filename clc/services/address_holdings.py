"""Who has had which public address, and when: the only writer of AddressHolding."""

from __future__ import annotations

from luhyaapi import clock
from luhyadb.models import AddressHolding, ElasticAddress


def begin(row: ElasticAddress) -> None:
    """Its owner has it from now on. In the transaction that lends it."""
    AddressHolding.objects.create(elastic=row, address=row.address, owner=row.owner, group_id=row.owner.group_id, began_at=clock.now())


def end(row: ElasticAddress) -> None:
    """Nobody has it any more."""
    AddressHolding.objects.filter(elastic=row, ended_at=0).update(ended_at=clock.now())
