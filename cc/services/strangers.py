"""Guests that run on a node which nobody told it to run: adopted, put to sleep, or left alone; never deleted.

A node names what runs there without a wanted file of its own. Whose it is this cluster's placements say: placed on that
node, the node has lost its memory and is told again; placed elsewhere, or nowhere, it may write a disk that another one
writes, so it is stopped, and its disk stays. That takes positive evidence (the node says so for a while, and is heard), and
never happens to more than a tenth of the cluster's instances at once: then rather our own memory is wrong, and a person
decides. An instance that a node was told to run and that is placed on another is stopped likewise, however many there are, for a node
whose place is newer refuses that: it joined after the copy of a database was made that was restored since, and it was placed again.
"""

from __future__ import annotations

from django.db.models import Count

from cc.services import children, placements
from cc.services.office import Office
from luhyaapi import clock, ids, log
from luhyaapi.contracts.commands import DomainStart, DomainStop
from luhyaapi.contracts.vocabulary import InstanceState
from luhyadb import memory, outbox
from luhyadb.models import Placement

_log = log.get(__name__)
QUARANTINE_S = 60.0
AGAIN_S = 120.0
GRACE_S = 30.0
_TENTH = 10
_TWICE_S = 600.0


def look(office: Office) -> str:
    """Do what is due now; in words what an operator should know, empty when nothing runs unordered."""
    now = clock.now()
    twice = _twice(office)
    running = {(node, one) for node, facts in office.facts.items() for one in facts.strangers} | twice
    office.strangers = {key: office.strangers.get(key, now) for key in running}
    if not running:
        return _unplaced(office, now)
    homeless = []
    for node, instance in sorted(running):
        since = office.strangers[node, instance]
        place = placements.find(instance)
        if place is not None and place.node == node and place.wanted == InstanceState.RUNNING:
            if now >= since:
                _adopt(office, place, now)
        elif now - since >= QUARANTINE_S:
            homeless.append((node, instance))
    words = f"{len(running)} unordered: {', '.join(f'{one} on {node}' for node, one in sorted(running)[:5])}"
    most = max(1, Placement.objects.count() // _TENTH)
    too_many = len(set(homeless) - twice) > most
    for node, instance in homeless:
        if not too_many or (node, instance) in twice:
            _put_to_sleep(office, node, instance, now)
    return f"{words}; more than a tenth of what is placed here, so they are left alone: look before you act" if too_many else words


def _twice(office: Office) -> set[tuple[str, str]]:
    """Those are stopped again and again for a while, for nobody hears whether they are; a node that has a newer place refuses it."""
    now, known = clock.monotonic(), dict(office.twice)
    places = {one: placements.find(one) for _, one in known}
    found = {(node, one) for node, one in known if (place := places[one]) is not None and place.node != node}
    for key, at in known.items():
        if (key not in found or now - at > _TWICE_S) and office.twice.get(key) == at:
            office.twice.pop(key, None)
    return found


def _unplaced(office: Office, now: float) -> str:
    """Which nodes have had more instances than are placed there for a while, as after all who knew of one forgot it; they are left alone."""
    placed = dict(Placement.objects.order_by().values_list("node").annotate(Count("pk")))
    more = {node: facts.guests - placed.get(node, 0) for node, facts in office.facts.items() if facts.guests > placed.get(node, 0)}
    office.unplaced = {node: office.unplaced.get(node, now) for node in more}
    told = [f"{node} has {number} without a place" for node, number in sorted(more.items()) if now - office.unplaced[node] >= QUARANTINE_S]
    return f"instances this cluster does not know: {', '.join(told[:5])}" if told else ""


def _adopt(office: Office, place: Placement, now: float) -> None:
    """Its own node has forgotten it: say the order again, which finds it running."""
    _log.warning("guest without a wanted file is told again", instance=place.pk, host=place.node)
    _send(office, DomainStart(instance=place.pk, spec=placements.spec_of(place)), place.node, place.gen, place.fence)
    office.strangers[place.node, place.pk] = now + AGAIN_S


def _put_to_sleep(office: Office, node: str, instance: str, now: float) -> None:
    place = placements.find(instance)
    if place is not None and place.node == node and place.wanted == InstanceState.RUNNING:
        return  # it came to be so in this moment
    _log.warning("guest nobody ordered is stopped, its disk stays", instance=instance, host=node)
    fence, gen = (place.fence, place.gen) if place else (0, 0)
    _send(office, DomainStop(instance=instance, grace_s=GRACE_S), node, gen, fence)
    office.strangers[node, instance] = now + AGAIN_S


def _send(office: Office, command: DomainStart | DomainStop, node: str, gen: int, fence: int) -> None:
    with memory.atomic():
        outbox.send(
            command, node, sender=office.agent.me, task=ids.new("tsk"), gen=gen, fence=fence, speaks=children.speaks(node),
        )
