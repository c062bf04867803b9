"""Who may report what to the CLC: a host speaks of itself, a cluster of its own instances, the receiver of an order of its task."""

from __future__ import annotations

import re
from functools import singledispatch

from pydantic import TypeAdapter, ValidationError

from clc.services import tasks
from luhyaapi import clock, ids
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import (
    AccessFacts,
    ConflictFacts,
    Hello,
    HostFacts,
    HostsFacts,
    InstanceFacts,
    JoinAsked,
    LeasesFacts,
    LetterFacts,
    Outcome,
    PlacementFacts,
    PlacesFacts,
    ProbeFacts,
    Progress,
    TaskSteps,
)
from luhyaapi.contracts.specs import Name
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused
from luhyaapi.wire import identity
from luhyadb.models import Host, Instance, JoinToken, Network

WAITING_AT_MOST = 100
_CSR_AT_MOST, _REQUEST_AT_MOST = 8192, 64
_NAME = TypeAdapter(Name)
_ADDRESS = re.compile(r"([a-z]{1,10}://)?[A-Za-z0-9.:\[\]_-]{0,90}")


def judge(envelope: Envelope, report: Report) -> None:
    """Raises Refused(forbidden) for what is not the sender's to say, Refused(not_found) for what is over here."""
    _judge(report, envelope.sender)


def check_asker(report: JoinAsked, boss: str) -> None:
    """Whether somebody below ``boss`` may ask to join so. Raises Refused(invalid | forbidden | quota)."""
    _check_name(report.name)
    _check_address(report.address)
    if max(len(report.csr), len(report.tls)) > _CSR_AT_MOST or len(report.request) > _REQUEST_AT_MOST:
        raise Refused("invalid", "A request to join is too long", f"below {boss}")
    identity.check_request(report.csr)
    if report.tls:
        identity.check_tls_request(report.tls)
    known = Host.objects.filter(request=report.request).first()
    if known is None:
        _check_crowd(report.proof, boss)
    elif (known.boss, known.role, known.csr, known.tls_csr) != (boss, report.role, report.csr, report.tls):
        raise Refused("forbidden", "A request to join is known with another key or boss", f"below {boss}")


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as e:
        raise Refused("invalid", "A host cannot be called so", repr(name[:40]), field="name") from e


def _check_address(address: str) -> None:
    """An administrator copies it into a command line, and our bytes go there."""
    if not _ADDRESS.fullmatch(address):
        raise Refused("invalid", "A host cannot be reached there", repr(address[:100]), field="address")


def _check_crowd(proof: str, boss: str) -> None:
    good = JoinToken.objects.filter(proof=proof, used_by="", expires_at__gt=clock.now()).exists()
    if not good and Host.objects.filter(boss=boss, state=HostState.NEW).count() >= WAITING_AT_MOST:
        raise Refused("quota", "Too many hosts wait for approval", f"{WAITING_AT_MOST} do", hint="Bring a join token, or approve those.")


@singledispatch
def _judge(report: Report, sender: str) -> None:
    raise Refused("forbidden", f"A {report.kind} is not a host's to report", sender)


@_judge.register
def _(report: Hello, sender: str) -> None:
    _about_itself(report.host, sender)
    _check_address(report.address)
    if report.name:
        _check_name(report.name)


@_judge.register
def _(report: HostFacts, sender: str) -> None:
    _about_itself(report.host, sender)


@_judge.register
def _(report: HostsFacts, sender: str) -> None:  # noqa: ARG001 - which of them are its own is looked up for all at once
    if ids.role_of(sender) != Role.CC:
        raise Refused("forbidden", "Only a cluster gathers heartbeats", sender)


def _about_itself(host: str, sender: str) -> None:
    if host != sender:
        raise Refused("forbidden", "A host reports about another host", f"{sender} about {host}")


@_judge.register
def _(report: InstanceFacts, sender: str) -> None:
    """Which of its nodes an instance is on the cluster knows best, and has judged."""
    if _boss_of(sender) != _cluster_of(report.instance) or report.node not in ("", sender):
        raise Refused("forbidden", "A node reports about an instance that is not on it", f"{sender} about {report.instance}")


@_judge.register
def _(report: ProbeFacts, sender: str) -> None:
    """Which of its nodes an instance is on the cluster knows best, and has judged."""
    _about_itself(report.host, sender)
    if _cluster_of(report.instance) not in (sender, _boss_of(sender)):
        raise Refused("forbidden", "A host reports about an instance of another cluster", f"{sender} about {report.instance}")


@_judge.register
def _(report: PlacementFacts, sender: str) -> None:
    if _cluster_of(report.instance) != sender:
        raise Refused("forbidden", "A cluster reports about another's instance", f"{sender} about {report.instance}")
    if report.node and _boss_of(report.node) != sender:
        raise Refused("forbidden", "A cluster places on a node that is not its own", f"{sender} on {report.node[:20]}")


@_judge.register
def _(report: PlacesFacts, sender: str) -> None:
    """What is said of another's instances is passed over where it is heard: the others count."""
    _about_itself(report.host, sender)
    if ids.role_of(sender) != Role.CC:
        raise Refused("forbidden", "Only a cluster has places", sender)


@_judge.register
def _(report: AccessFacts, sender: str) -> None:
    if _cluster_of(report.instance) != sender:
        raise Refused("forbidden", "A cluster reports about another's instance", f"{sender} about {report.instance}")


@_judge.register
def _(report: LeasesFacts, sender: str) -> None:
    _about_its_network(report.host, report.network, sender)


@_judge.register
def _(report: ConflictFacts, sender: str) -> None:
    _about_its_network(report.host, report.network, sender)


def _about_its_network(host: str, network: str, sender: str) -> None:
    """The network of its settings has no row of ours."""
    _about_itself(host, sender)
    if ids.role_of(sender) != Role.CC or (ids.is_id(network, "net") and not Network.objects.filter(pk=network, cluster=sender).exists()):
        raise Refused("forbidden", "A cluster reports about a network that is not its own", f"{sender} about {network}")


@_judge.register
def _(report: TaskSteps, sender: str) -> None:
    if sender not in _receivers(pk=report.task):
        raise Refused("forbidden", "A host tells a step of another's task", f"{sender} about {report.task[:20]}")


@_judge.register
def _(report: Outcome, sender: str) -> None:
    if sender not in _receivers(command=report.command):
        raise Refused("forbidden", "A host reports about an order to somebody else", f"{sender} about {report.command[:80]}")
    if report.place is not None:
        _judge(report.place, sender)


@_judge.register
def _(report: Progress, sender: str) -> None:
    if not _receivers(pk=report.task) & {sender, _boss_of(sender)}:
        raise Refused("forbidden", "A host tells the progress of another's task", f"{sender} about {report.task[:20]}")


@_judge.register
def _(report: LetterFacts, sender: str) -> None:
    _about_itself(report.host, sender)


@_judge.register
def _(report: JoinAsked, sender: str) -> None:
    check_asker(report, sender)


def _boss_of(host: str) -> str:
    return str(Host.objects.filter(pk=host).values_list("boss", flat=True).first() or "")


def _cluster_of(instance: str) -> str:
    found = Instance.objects.filter(pk=instance).values_list("cluster", flat=True).first()
    if not found:
        raise Refused("not_found", "There is no such instance", instance)
    return str(found)


def _receivers(**by: str) -> set[str]:
    found = tasks.receivers(**by)
    if not found:
        raise Refused("not_found", "No task of ours waits for this", str(by)[:80])
    return found
