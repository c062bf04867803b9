"""Whom a node may take an image from beside the cluster: nodes that have it, and those that are just fetching it.

All who fetch the same files stand in a row (``cc.services.rows``), and each takes from the one before it: however many there
are, the cluster sends little more than one copy.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from cc.services import children
from cc.services.office import Office
from luhyaapi.contracts.specs import ImageRef, Neighbour
from luhyaapi.wire.signing import make_ticket
from luhyadb.models import Child

TICKET_LIFE_S = 6 * 3600.0
_BEFORE, _HAVE = 2, 1
"""Of those before it in the row, and of those that have it, how many a node is told: the next takes the place of one that dies."""

_LOOKED_AT = 8


def of(office: Office, ref: ImageRef, node: str) -> tuple[Neighbour, ...]:
    """The neighbours a node is told to ask first, in this order."""
    blobs = frozenset(b.sha256 for b in ref.blobs)
    row = office.rows.before(blobs, node)
    before = row[:_LOOKED_AT]
    have = sorted(host for host in office.holding(blobs) - {node, *row} if _has(office, host, blobs))
    turn = len(row) % len(have) if have else 0  # not everybody from the same one
    have = (have[turn:] + have[:turn])[:_LOOKED_AT]
    there = {
        child.pk: child for child in Child.objects.filter(pk__in=[*before, *have], role="nc")
        if urlsplit(child.address).scheme == urlsplit(office.door).scheme and not children.is_silent(office, child)
    }
    chosen = [h for h in before if h in there][:_BEFORE] + [h for h in have if h in there][:_HAVE]
    return tuple(Neighbour(
        host=host, url=f"{there[host].address}/nc/api/1.0",
        ticket=make_ticket(office.agent.key, {"get": sorted(blobs), "to": node, "at": host}, TICKET_LIFE_S),
    ) for host in chosen)


def _has(office: Office, host: str, blobs: frozenset[str]) -> bool:
    facts = office.facts.get(host)
    return facts is not None and blobs <= set(facts.blobs)
