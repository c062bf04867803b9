"""Places of instances that this cluster has forgotten, as after a restored database: the nodes know, and are asked.

With each order about an instance the CLC says on which node it is, and as the fence of the order which generation placed it there.
A place that this cluster knows there, or of a newer generation, stands. Otherwise its memory is older: nothing is begun, stopped or
called deleted before that node has said what it has. Only what was asked for is believed.
"""

from __future__ import annotations

from cc.services import children, flows, placements
from cc.services.office import Office
from cc.services.recalled import Recalled
from luhyaapi import clock, ids, log
from luhyaapi.contracts.commands import MachineTell
from luhyaapi.contracts.reports import MachineFacts
from luhyaapi.errors import Trouble, Unavailable
from luhyadb import memory, outbox
from luhyadb.models import Child, FlowRun, Placement

_log = log.get(__name__)
_AGAIN_S = 10.0
_HOLDS_S = 60.0


def require(office: Office, instance: str, node: str, fence: int) -> None:
    """Have it known where an instance is, or that its node has nothing of it. In no transaction.

    Raises Unavailable(busy | host_silent) until its node has answered.
    """
    if not node or node in office.lost or is_known(instance, node, fence):
        return
    found(office, instance, node, fence)


def found(office: Office, instance: str, node: str, fence: int) -> MachineFacts:
    """What a node has of an instance, not older than a minute; it is asked if it has not said it. In no transaction.

    What hinders it to be known again may be over soon: that is looked at again after ten seconds.

    Raises Unavailable(busy | host_silent) until it has answered.
    """
    now, known = clock.now(), office.recalls.get(instance)
    is_new = known is not None and known.node == node and 0 <= now - known.at < (_HOLDS_S if known.said and not known.hinders else _AGAIN_S)
    if known is None or not is_new:
        _ask(office, instance, node, fence)
    elif known.hinders:
        raise Unavailable("busy", "The place of this instance cannot be known again now", known.hinders)
    elif known.said is not None:
        return known.said
    raise Unavailable("busy", "The cluster asks a node what it has of this instance", node)


def told(office: Office, report: MachineFacts) -> None:
    """What a node has of an instance, once for each question. What it cannot be believed in is passed over, and asked for again."""
    asked = office.recalls.get(report.instance)
    machine, is_open = report.machine, asked is not None and asked.said is None and 0 <= clock.now() - asked.at < _HOLDS_S
    if asked is None or not is_open or asked.node != report.node or (machine is not None and machine.instance != report.instance):
        _log.info("nobody asked for this machine", instance=report.instance, host=report.node)
        return
    hinders = f"a guest that nobody ordered runs on {report.node}" if report.runs and machine is None else ""
    if machine is not None:
        try:
            hinders = "" if placements.recall(office, report, asked.fence) else "its node says something else of it"
        except Trouble as e:
            # a report that fails for lack of room would come again for ever, and all others behind it
            hinders = str(e)
        _log.warning("a node told where an instance is", instance=report.instance, host=report.node, hinders=hinders)
    answer = Recalled(report.node, clock.now(), asked.fence, report, hinders)
    memory.on_commit(lambda: _answered(office, answer))


def _answered(office: Office, answer: Recalled) -> None:
    if answer.said is not None:
        office.recalls[answer.said.instance] = answer
        office.agent.worker.hurry(answer.said.instance)


def is_known(instance: str, node: str, fence: int) -> bool:
    """Whether this cluster's memory is as new as that place: it has it, a newer one, or took it back itself."""
    place = Placement.objects.filter(pk=instance).values_list("node", "fence").first()
    if place is not None:
        return place[1] > fence or (place[0] == node and place[1] >= fence)
    return any(flows.gen_of(run) >= fence for run in FlowRun.objects.filter(instance=instance, ended_at__gt=0) if flows.has_begun(run))


def _ask(office: Office, instance: str, node: str, fence: int) -> None:
    child = Child.objects.filter(pk=node).first()
    if child is None:
        raise Unavailable("host_silent", "The node of this instance is not one of its cluster's", node, hint="Let it join again, or give it up.")
    if children.is_silent(office, child):
        raise Unavailable("host_silent", "The node of this instance does not answer", node)
    now = clock.now()
    office.recalls = {one: said for one, said in office.recalls.items() if 0 <= now - said.at < _HOLDS_S} | {instance: Recalled(node, now, fence)}
    with memory.atomic():
        outbox.send(MachineTell(instance=instance), node, sender=office.agent.me, task=ids.new("tsk"), speaks=child.speaks)
