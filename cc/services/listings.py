"""What nodes have, asked when this process begins: its database may be an older one, and what it lends or places anew may be there already.

Every node is asked which instances it was told of. Until all that are heard have answered, and each of theirs, and each the CLC tells of,
has its place here again, nothing new is placed, two minutes at most. A node that comes later is asked then.
"""

from __future__ import annotations

from dataclasses import replace

from cc.services import children, placements, recall
from cc.services.office import Office
from cc.services.recalled import Listing
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import HostRefresh, InstanceRecall, MachineTell
from luhyaapi.contracts.reports import Hello, MachinesFacts
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
    if placements.find(instance) is not None:
        return
    waited_for, unknown = _seen(office) if _is_new(office) else ("", {})
    if waited_for:
        raise Unavailable("busy", "The cluster has just begun and asks its nodes what they have", waited_for)
    for node, listing in list(office.listings.items()):
        if instance in (listing.instances or ()):
            if recall.found(office, instance, node, gen).machine is not None:
                return
            office.listings[node] = replace(listing, instances=(listing.instances or frozenset()) - {instance})
    if others := sorted(set(unknown) - {instance}):
        raise Unavailable("busy", "The cluster has just begun and does not know all instances again", ", ".join(others[:5]))


def look(office: Office) -> None:
    """Have every node asked, while this process is new."""
    if _is_new(office):
        _seen(office)


def greeted(office: Office, report: Hello) -> None:
    """A node is there, perhaps for the first time since this process began: it is asked too."""
    child, listing = Child.objects.filter(pk=report.host, role=Role.NC).first(), office.listings.get(report.host)
    if child is not None and (listing is None or listing.instances is None) and _lists(child):
        _ask(office, child.pk)


def heard(office: Office, report: MachinesFacts) -> None:
    """What a node has."""
    listing, elsewhere = Listing(clock.now(), frozenset(report.instances)), placements.elsewhere(report.node, report.instances)

    def keep() -> None:
        office.listings[report.node] = listing
        office.twice |= dict.fromkeys(((report.node, one) for one in elsewhere), clock.monotonic())
        office.answers += 1
        office.unknown = None
        if all(each.instances is not None for each in list(office.listings.values())):
            office.agent.worker.hurry()

    memory.on_commit(keep)


def _is_new(office: Office) -> bool:
    return clock.monotonic() - office.since < _LASTS_S


def _lists(child: Child) -> bool:
    """Whether it knows how to; of one of which nothing is known it is taken to be so."""
    return bool(child.speaks.get(MachineTell.kind, 0 if child.speaks else _SINCE_V) >= _SINCE_V)


def _silent_yet(office: Office) -> str:
    """A node that is heard and has not answered, having asked all; empty when there is none."""
    first = ""
    for child in Child.objects.filter(role=Role.NC).order_by("pk"):
        listing = office.listings.get(child.pk)
        if not _lists(child) or (listing is not None and listing.instances is not None) or children.is_silent(office, child):
            continue
        _ask(office, child.pk)
        first = first or child.name
    return first


def _told_to_recall(office: Office) -> str:
    """An instance that the CLC says is on a node which has not answered; empty when there is none."""
    return next((row.subject for row in office.agent.journal.open_rows() if row.kind == InstanceRecall.kind), "")


def _seen(office: Office) -> tuple[str, dict[str, str]]:
    """A node that has not answered, and instances without a place with the nodes that have them; at most once a second, for many orders may wait."""
    now, seen, answers = clock.monotonic(), office.unknown, office.answers
    if seen is not None and 0 <= now - seen[0] < _LOOK_S:
        return seen[1], seen[2]
    waited_for = _silent_yet(office) or _told_to_recall(office)
    listings, placed = list(office.listings.items()), placements.known()
    unknown = {one: node for node, listing in listings for one in (listing.instances or frozenset()) - placed}
    for node in sorted(set(unknown.values())):
        _ask(office, node)
    if answers == office.answers:
        office.unknown = now, waited_for, unknown
    return waited_for, unknown


def _ask(office: Office, node: str) -> None:
    before, now = office.listings.get(node), clock.now()
    if before is not None and 0 <= now - before.at < _AGAIN_S:
        return
    office.listings[node] = Listing(now, before.instances if before else None)
    with memory.atomic():
        if before is None:
            # how each is, too: what it said before may be forgotten
            outbox.send(HostRefresh(host=node), node, sender=office.agent.me, task=ids.new("tsk"))
        outbox.send(MachineTell(), node, sender=office.agent.me, task=ids.new("tsk"), speaks=children.speaks(node))
