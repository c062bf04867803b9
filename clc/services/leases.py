"""What is lent of a network: its cluster is asked, and answers for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clc.services import events, pools
from clc.services.own import own
from clc.services.pictures import board, when
from clc.services.pools import Pool
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import LeasesTell
from luhyaapi.contracts.reports import ConflictFacts, LeasesFacts
from luhyaapi.contracts.specs import LeaseFacts
from luhyaapi.errors import Unavailable, from_wire
from luhyaapi.status.board import Board
from luhyadb import memory, outbox
from luhyadb.models import Account, Instance

PATIENCE_S = 5.0
_LOOK_S = 0.05
AT_MOST = 1000


@dataclass(frozen=True)
class Asked:
    """A question that is under way."""

    question: str
    pool: Pool
    until: float


def found(board_: Board, report: LeasesFacts) -> None:
    """A cluster answered; kept for a while."""
    board_.write(f"leases:{report.question}", report.model_dump(mode="json"))


def conflict(report: ConflictFacts) -> None:
    """Somebody else has an address that was to be lent."""
    subject = report.network if report.network.startswith("net-") else report.host
    events.record("network", subject, "address is somebody else's", host=report.host, address=report.address, mac=report.mac, instance=report.instance)


def ask(account: Account, ident: str, after: str = "", limit: int = AT_MOST, *, usage: bool = False) -> Asked:
    """Have its cluster say what of a network is lent, behind an address. Raises Refused(forbidden | not_found | invalid | state | unsupported)."""
    with memory.atomic():
        pool = pools.resolve(account, ident)
        asked = Asked(ids.new("prb"), pool, clock.now() + PATIENCE_S)
        order = LeasesTell(network=pool.id, question=asked.question, after=after, limit=limit, usage=usage)
        outbox.send(order, pool.cluster.pk, sender=own().id, task=ids.new("tsk"), step="leases", deadline=asked.until, speaks=pool.cluster.speaks)
    return asked


def answer(board_: Board, asked: Asked) -> LeasesFacts | None:
    """What it said; None while it may still answer. Raises Refused(not_found), Unavailable(host_silent)."""
    said = board_.read([f"leases:{asked.question}"]).get(f"leases:{asked.question}")
    if said is None:
        if clock.now() < asked.until:
            return None
        raise Unavailable("host_silent", "Its cluster does not answer", f"{asked.pool.cluster.name} said nothing within {PATIENCE_S:.0f} s")
    facts = LeasesFacts.model_validate(said)
    if facts.error:
        raise from_wire(facts.error.model_dump())
    return facts


def read(account: Account, ident: str, after: str = "", limit: int = AT_MOST, *, usage: bool = False) -> tuple[Pool, LeasesFacts]:
    """Ask, and wait for the answer. Raises as :func:`ask` and :func:`answer`."""
    asked = ask(account, ident, after, limit, usage=usage)
    while (facts := answer(board(), asked)) is None:
        clock.sleep(_LOOK_S)
    return asked.pool, facts


def pictures(facts: LeasesFacts) -> list[dict[str, Any]]:
    """Leases as JSON, with whose the instances are."""
    known = dict(Instance.objects.filter(pk__in={each.instance for each in facts.leases if each.instance}).values_list("pk", "owner__username"))
    return [_picture(each, known) for each in facts.leases]


def _picture(lease: LeaseFacts, owners: dict[str, str]) -> dict[str, Any]:
    stamps = {name: when(getattr(lease, name)) for name in ("since", "until", "seen_at")}
    return lease.model_dump(mode="json") | stamps | {"instance": lease.instance or None, "owner": owners.get(lease.instance, "") or lease.owner}
