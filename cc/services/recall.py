"""Places of instances that this cluster has forgotten, as after a restored database: the nodes know, and are asked.

With each order about an instance the CLC says on which node it is, and as the fence of the order which generation placed it there.
A place that this cluster knows there, or of a newer generation, stands. Otherwise its memory is older: nothing is begun, stopped or
called deleted before that node has said what it has. Only what was asked for is believed.
"""

from __future__ import annotations

from cc.services import children, placements
from cc.services.office import Office
from cc.services.recalled import Recalled
from luhyaapi import clock, ids, log
from luhyaapi.contracts.commands import MachineTell
from luhyaapi.contracts.reports import MachineFacts
from luhyaapi.errors import Unavailable
from luhyadb import memory, outbox
from luhyadb.models import Child, Placement

_log = log.get(__name__)
_AGAIN_S = 10.0
_HOLDS_S = 60.0


def require(office: Office, instance: str, node: str, fence: int) -> None:
    """Have it known where an instance is, or that its node has nothing of it. In no transaction.

    Raises Unavailable(busy | host_silent) until its node has answered.
    """
    if not node or node in office.lost or _is_known(instance, node, fence):
        return
    now, said = clock.now(), office.recalls.get(instance)
    is_new = said is not None and said.node == node and 0 <= now - said.at < (_HOLDS_S if said.answered else _AGAIN_S)
    if said is not None and is_new and said.answered and not said.runs:
        return
    if said is None or not is_new:
        _ask(office, instance, node)
    elif said.runs:
        raise Unavailable("busy", "A guest of this instance runs that nobody ordered", node, hint="It is stopped after a while; its disk stays.")
    raise Unavailable("busy", "The cluster asks a node what it has of this instance", node)


def told(office: Office, report: MachineFacts) -> None:
    """What a node has of an instance."""
    asked = office.recalls.get(report.instance)
    if asked is None or asked.node != report.node:
        _log.info("nobody asked for this machine", instance=report.instance, host=report.node)
        return
    if report.machine is not None and placements.recall(office, report):
        _log.warning("the place of an instance is known again", instance=report.instance, host=report.node)
    office.recalls[report.instance] = Recalled(report.node, clock.now(), answered=True, runs=report.runs and report.machine is None)


def _is_known(instance: str, node: str, fence: int) -> bool:
    place = Placement.objects.filter(pk=instance).values_list("node", "fence").first()
    return place is not None and (place[0] == node or place[1] > fence)


def _ask(office: Office, instance: str, node: str) -> None:
    child = Child.objects.filter(pk=node).first()
    if child is None:
        raise Unavailable("host_silent", "The node of this instance is not one of its cluster's", node, hint="Let it join again, or give it up.")
    if children.is_silent(office, child):
        raise Unavailable("host_silent", "The node of this instance does not answer", node)
    now = clock.now()
    office.recalls = {one: said for one, said in office.recalls.items() if 0 <= now - said.at < _HOLDS_S} | {instance: Recalled(node, now)}
    with memory.atomic():
        outbox.send(MachineTell(instance=instance), node, sender=office.agent.me, task=ids.new("tsk"), speaks=child.speaks)
