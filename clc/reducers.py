"""Reports become rows, events and the board. Each runs in one transaction, once, newest only."""

from __future__ import annotations

from collections.abc import Mapping

from clc.services import (
    access,
    admission,
    forwards,
    hosts,
    instance_reports,
    leases,
    outcomes,
    places,
    probes,
    tasks,
)
from clc.services.office import Office
from luhyaapi import ids
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.reports import (
    AccessFacts,
    ConflictFacts,
    Hello,
    HostFacts,
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
from luhyaapi.role import reduces, reduces_all
from luhyadb import letters


@reduces(Hello)
def hello(_office: Office, _envelope: Envelope, report: Hello) -> None:
    """A host is there."""
    hosts.hello(report)
    admission.admit()


@reduces_all(HostFacts)
def hosts_facts(office: Office, reports: Mapping[str, HostFacts]) -> None:
    """How hosts are now."""
    office.board.write_texts({f"host:{r.host}": r.model_dump_json() for r in reports.values()})
    office.signs.heard(r.host for r in reports.values())


@reduces_all(Progress)
def progress(office: Office, reports: Mapping[str, Progress]) -> None:
    """How far tasks are."""
    for report in reports.values():
        picture = report.model_dump()
        office.board.write(f"task:{report.task}", picture)
        office.board.write(f"step:{report.task}:{ids.step_of(report.command)}", picture)


@reduces(InstanceFacts)
def instance_facts(_office: Office, _envelope: Envelope, report: InstanceFacts) -> None:
    """How an instance is on its node."""
    instance_reports.found(report)


@reduces(ProbeFacts)
def probe_facts(office: Office, _envelope: Envelope, report: ProbeFacts) -> None:
    """What a host found of the way from an instance to the outside."""
    probes.found(office.board, report)


@reduces(LeasesFacts)
def leases_facts(office: Office, _envelope: Envelope, report: LeasesFacts) -> None:
    """What a cluster lends of a network."""
    leases.found(office.board, report)


@reduces(ConflictFacts)
def conflict_facts(_office: Office, _envelope: Envelope, report: ConflictFacts) -> None:
    """Somebody else has an address of a network."""
    leases.conflict(report)


@reduces(PlacementFacts)
def placement_facts(_office: Office, _envelope: Envelope, report: PlacementFacts) -> None:
    """Where an instance was placed."""
    instance_reports.placed(report)


@reduces(PlacesFacts)
def places_facts(_office: Office, _envelope: Envelope, report: PlacesFacts) -> None:
    """Which instances have a place in a cluster."""
    places.heard(report)


@reduces(AccessFacts)
def access_facts(_office: Office, envelope: Envelope, report: AccessFacts) -> None:
    """What reaches an instance from outside."""
    if access.heard(report, envelope.sender):
        forwards.learned(report)


@reduces(TaskSteps)
def task_steps(_office: Office, _envelope: Envelope, report: TaskSteps) -> None:
    """How far a task is."""
    tasks.steps(report)


@reduces(JoinAsked)
def join_asked(_office: Office, envelope: Envelope, report: JoinAsked) -> None:
    """Somebody wants in below a CC."""
    hosts.join_asked(report, envelope.sender)


@reduces(LetterFacts)
def letter_facts(_office: Office, _envelope: Envelope, report: LetterFacts) -> None:
    """A message died in a cluster's broker, or is done with."""
    letters.heard(report)


@reduces(Outcome)
def outcome(_office: Office, _envelope: Envelope, report: Outcome) -> None:
    """A task's own order ended, or its run has to wait."""
    outcomes.heard(report)
