"""What nodes have, asked when this process begins: its database may be an older one, and what it lends or places anew may be there already.

Every node is asked which instances it was told of. Until all that are heard have answered, and each of theirs has its place here again,
nothing new is placed, two minutes at most.
"""

from __future__ import annotations

from cc.services import children, placements, recall
from cc.services.office import Office
from cc.services.recalled import Listing
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import MachineTell
from luhyaapi.contracts.reports import MachinesFacts
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Unavailable
from luhyadb import memory, outbox
from luhyadb.models import Child

_LASTS_S, _AGAIN_S, _LOOK_S = 120.0, 5.0, 1.0
_SINCE_V = 2
"""The first version of the order that lists."""


def require(office: Office, instance: str, gen: int) -> None:
    """Before a place is looked for: nothing that was placed is forgotten, as far as nodes say so. In no transaction.

    An instance that a node has already has its place there then. Raises Unavailable(busy | host_silent).
    """
    if not _is_new(office) or placements.find(instance) is not None:
        return
    waited_for, unknown = _seen(office)
    if waited_for:
        raise Unavailable("busy", "The cluster has just begun and asks its nodes what they have", waited_for)
    if instance in unknown:
        node = unknown[instance]
        if recall.found(office, instance, node, gen).machine is not None:
            return
        unknown = {one: node for one, node in unknown.items() if one != instance}
    if unknown:
        raise Unavailable("busy", "The cluster has just begun and does not know all instances again", ", ".join(sorted(unknown)[:5]))


def look(office: Office) -> None:
    """Have every node asked, while this process is new."""
    if _is_new(office):
        _seen(office)


def heard(office: Office, report: MachinesFacts) -> None:
    """What a node has."""
    listing = Listing(clock.now(), frozenset(report.instances))

    def keep() -> None:
        office.listings[report.node] = listing
        office.unknown = None
        if all(each.instances is not None for each in list(office.listings.values())):
            office.agent.worker.hurry()

    memory.on_commit(keep)


def _is_new(office: Office) -> bool:
    return 0 <= clock.now() - office.since < _LASTS_S


def _silent_yet(office: Office) -> str:
    """A node that is heard and has not answered, having asked all; empty when there is none."""
    first = ""
    for child in Child.objects.filter(role=Role.NC).order_by("pk"):
        listing, speaks = office.listings.get(child.pk), child.speaks.get(MachineTell.kind, 0 if child.speaks else _SINCE_V)
        if speaks < _SINCE_V or (listing is not None and listing.instances is not None) or children.is_silent(office, child):
            continue
        _ask(office, child.pk)
        first = first or child.name
    return first


def _seen(office: Office) -> tuple[str, dict[str, str]]:
    """A node that has not answered, and instances without a place with the nodes that have them; at most once a second, for many orders may wait."""
    now, seen = clock.monotonic(), office.unknown
    if seen is None or not 0 <= now - seen[0] < _LOOK_S:
        placed = placements.known()
        unknown = {one: node for node, listing in list(office.listings.items()) for one in (listing.instances or frozenset()) - placed}
        for node in sorted(set(unknown.values())):
            _ask(office, node)
        seen = office.unknown = now, _silent_yet(office), unknown
    return seen[1], seen[2]


def _ask(office: Office, node: str) -> None:
    before, now = office.listings.get(node), clock.now()
    if before is not None and 0 <= now - before.at < _AGAIN_S:
        return
    office.listings[node] = Listing(now, before.instances if before else None)
    with memory.atomic():
        outbox.send(MachineTell(), node, sender=office.agent.me, task=ids.new("tsk"), speaks=children.speaks(node))
