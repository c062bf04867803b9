"""The one row that whoever lends, gives back or sweeps locks, and by whose number copies know that they are old: the only writer of Pool."""

from __future__ import annotations

from django.db.models import F

from luhyaapi.conf import Network
from luhyaapi.contracts.specs import PortRange
from luhyadb.models import Pool

_NAME = "default"
_PORTS = 65536


def alone() -> int:
    """Until this transaction ends nobody else lends, gives back or sweeps; the number of the last change.

    SQLite has one writer at a time anyway; elsewhere two could read the same free row, or one take a lease for lost that
    the other is just writing.
    """
    found = Pool.objects.select_for_update().filter(pk=_NAME).values_list("number", flat=True).first()
    if found is None:
        Pool.objects.create(pk=_NAME)  # the tables were made without their migrations
    return found or 0


def changes() -> int:
    """The number of the last change, for who only looks."""
    return Pool.objects.filter(pk=_NAME).values_list("number", flat=True).first() or 0


def turn() -> None:
    """Places, leases, networks or children change with this transaction: copies of what was before are good no more."""
    if not Pool.objects.filter(pk=_NAME).update(number=F("number") + 1):
        Pool.objects.create(pk=_NAME, number=1)


def networks() -> int:
    """The number of the last word about networks; 0: none was heard."""
    return Pool.objects.filter(pk=_NAME).values_list("networks", flat=True).first() or 0


def heard_networks(number: int, ports: PortRange | None) -> None:
    """That word was heard, and these ports are lent from now on. In a transaction of the caller's that is :func:`alone`."""
    Pool.objects.filter(pk=_NAME).update(networks=number, first_port=ports.first if ports else 0, last_port=ports.last if ports else 0)


def ports(network: Network) -> range:
    """The ports of this cluster that are lent to lead to guests."""
    first, last = Pool.objects.filter(pk=_NAME).values_list("first_port", "last_port").first() or (0, 0)
    return range(first, last + 1) if first else range(network.lent_first, min(network.lent_first + network.lent_count, _PORTS))
