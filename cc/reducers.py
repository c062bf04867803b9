"""Reports from below: an Outcome ends a step of a flow, facts keep the picture of the nodes."""

from __future__ import annotations

from collections.abc import Mapping

from cc.services import children, flows, listings, placements, prefetches, recall
from cc.services.office import Office
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.reports import Hello, HostFacts, InstanceFacts, MachineFacts, MachinesFacts, Outcome
from luhyaapi.role import reduces, reduces_all


@reduces(Hello)
def hello(office: Office, _envelope: Envelope, report: Hello) -> None:
    """A child is there."""
    children.hello(report)
    children.joined(office, report.host)
    listings.greeted(office, report)


@reduces_all(HostFacts)
def hosts_facts(office: Office, reports: Mapping[str, HostFacts]) -> None:
    """How children are now."""
    for report in reports.values():
        office.saw(report)
    children.heard(office, [report.host for report in reports.values()])


@reduces(InstanceFacts)
def instance_facts(_office: Office, _envelope: Envelope, report: InstanceFacts) -> None:
    """How an instance is on its node."""
    placements.found(report)


@reduces(MachineFacts)
def machine_facts(office: Office, _envelope: Envelope, report: MachineFacts) -> None:
    """What of an instance is on a node that was asked."""
    recall.told(office, report)


@reduces(MachinesFacts)
def machines_facts(office: Office, _envelope: Envelope, report: MachinesFacts) -> None:
    """Which instances a node has."""
    listings.heard(office, report)


@reduces(Outcome)
def outcome(office: Office, _envelope: Envelope, report: Outcome) -> None:
    """A step ended."""
    if not prefetches.ended(office, report):
        flows.ended(office, report)
