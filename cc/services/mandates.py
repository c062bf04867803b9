"""Who may report what to this CC: a child speaks of itself, of instances placed on it, of orders given to it, of nothing else."""

from __future__ import annotations

from functools import singledispatch

from luhyaapi import ids
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import (
    Hello,
    HostFacts,
    InstanceFacts,
    MachineFacts,
    MachinesFacts,
    Outcome,
    ProbeFacts,
    Progress,
)
from luhyaapi.errors import Refused
from luhyadb.models import FlowRun, Placement, Prefetch


def judge(envelope: Envelope, report: Report) -> None:
    """Raises Refused(forbidden) for what is not the sender's to say, Refused(not_found) for what is over here."""
    _judge(report, envelope.sender)


@singledispatch
def _judge(report: Report, sender: str) -> None:
    raise Refused("forbidden", f"A {report.kind} is not a child's to report", sender)


@_judge.register
def _(report: Hello, sender: str) -> None:
    _about_itself(report.host, sender)
    if report.role != ids.role_of(sender):
        raise Refused("forbidden", "A host says hello in another role", f"{sender} as {report.role}")


@_judge.register
def _(report: HostFacts, sender: str) -> None:
    _about_itself(report.host, sender)


def _about_itself(host: str, sender: str) -> None:
    if host != sender:
        raise Refused("forbidden", "A host reports about another host", f"{sender} about {host}")


@_judge.register
def _(report: InstanceFacts, sender: str) -> None:
    _is_on(report.instance, sender)
    if report.node not in ("", sender):
        raise Refused("forbidden", "A node reports about an instance that is not on it", f"{sender} about {report.instance}")


@_judge.register
def _(report: MachineFacts, sender: str) -> None:
    """Whether this cluster asked it is looked at where the answer is taken."""
    _about_itself(report.node, sender)


@_judge.register
def _(report: MachinesFacts, sender: str) -> None:
    _about_itself(report.node, sender)


@_judge.register
def _(report: ProbeFacts, sender: str) -> None:
    _about_itself(report.host, sender)
    _is_on(report.instance, sender)


def _is_on(instance: str, sender: str) -> None:
    node = Placement.objects.filter(pk=instance).values_list("node", flat=True).first()
    if node is None:
        raise Refused("not_found", "The instance has no place in this cluster", instance)
    if node != sender:
        raise Refused("forbidden", "A node reports about an instance that is not on it", f"{sender} about {instance}")


@_judge.register
def _(report: Outcome, sender: str) -> None:
    _task_of(report.command, sender)


@_judge.register
def _(report: Progress, sender: str) -> None:
    if _task_of(report.command, sender) != report.task:
        raise Refused("forbidden", "A host tells the progress of another task", f"{sender} about {report.task}")


def _task_of(command: str, sender: str) -> str:
    """The task that waits for an order, if the order was given to the sender."""
    run = FlowRun.objects.filter(waiting=command, ended_at=0).first() if command else None
    brought = Prefetch.objects.filter(order=command).first() if command and run is None else None
    if run is not None:
        task, receiver = run.task, run.facts.get("at")
    elif brought is not None:
        task, receiver = brought.task, brought.host
    else:
        raise Refused("not_found", "Nothing waits for this order", command[:80])
    if receiver != sender:
        raise Refused("forbidden", "A host reports about an order to somebody else", f"{sender} about {command}")
    return str(task)
