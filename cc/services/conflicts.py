"""Addresses that somebody else answers for: asked before one is used, then passed over for a while."""

from __future__ import annotations

from collections.abc import Mapping

from cc.services import leases, networks, placements
from cc.services.asked import Card
from cc.services.office import Office
from luhyaapi import clock, log
from luhyaapi.contracts.reports import ConflictFacts
from luhyaapi.contracts.specs import MachineSpec, Nic
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Failed, Trouble
from luhyadb import memory
from luhyadb.models import Placement

_log = log.get(__name__)
_TRIES = 8
_AT_ONCE = 256


def settle(office: Office, instance: str, task: str) -> None:
    """Have a placed instance that is not started yet bear no address that somebody else has. In no transaction.

    Raises Unavailable(no_capacity), Failed(network) when one after the other is somebody else's.
    """
    others: dict[str, str] = {}
    for _ in range(_TRIES):
        place = placements.find(instance)
        if place is None:
            return
        spec = placements.spec_of(place)
        others = office.asked.others(_cards(spec), _unstarted, lambda nics: _ask(office, nics))
        if not others:
            return
        _log.warning("addresses are somebody else's", task=task, addresses=others)
        with memory.atomic():
            _pass_over(office, spec, others, task)
    why = ", ".join(f"{mac} answers for {ip}" for ip, mac in sorted(others.items()))
    raise Failed("network", "One address after the other is somebody else's", why, hint="Look who is in that network, or lend other ranges of it.")


def _cards(spec: MachineSpec) -> dict[Card, Nic]:
    return {(spec.instance, nic.ip): nic for nic in spec.nics}


def _unstarted() -> dict[Card, Nic]:
    """The cards of what was placed and never ran."""
    rows = Placement.objects.filter(found=InstanceState.DEFINED)[:_AT_ONCE]
    return {card: nic for row in rows for card, nic in _cards(placements.spec_of(row)).items()}


def _ask(office: Office, nics: tuple[Nic, ...]) -> dict[str, str]:
    """Where nobody can be asked, nobody is known to have it."""
    try:
        return office.edge.answering(nics)
    except Trouble as e:
        _log.warning("nobody could be asked whether addresses are somebody else's", why=str(e))
        return {}


def _pass_over(office: Office, spec: MachineSpec, others: Mapping[str, str], task: str) -> None:
    network, me, now = office.agent.settings.network, office.agent.me, clock.now()
    for nic in spec.nics:
        if nic.ip in others:
            told = ConflictFacts(host=me, network=nic.network, address=nic.ip, mac=others[nic.ip], instance=spec.instance, at=now)
            memory.on_commit(lambda told=told: office.agent.report(told, task))
    cards = networks.named(network, [nic.network for nic in spec.nics])
    nics = leases.exchange(me, network, spec.instance, spec.name, others, cards)
    placements.replug(office, spec.instance, nics, task)
