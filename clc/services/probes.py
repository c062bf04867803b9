"""Where the way from an instance to the outside ends: both of its hosts are asked, each about its own links."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clc.services.own import own
from clc.services.pictures import board
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import NetworkProbe
from luhyaapi.contracts.reports import ProbeFacts
from luhyaapi.contracts.specs import LinkFacts
from luhyaapi.contracts.vocabulary import LinkState, Role, Verb
from luhyaapi.edge import links
from luhyaapi.errors import Refused
from luhyaapi.status.board import Board
from luhyadb import memory, outbox, scope
from luhyadb.models import Account, Host, Instance

PATIENCE_S = 15.0
_LOOK_S = 0.1
_NO_NODE = frozenset({"place", "node"})
"""What a cluster finds when the node was not asked."""


@dataclass(frozen=True)
class Asked:
    """A question that is under way."""

    probe: str
    instance: str
    name: str
    cluster: str
    node: str
    until: float
    heard: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What came so far: the board may forget it sooner than our patience ends."""


def found(board_: Board, report: ProbeFacts) -> None:
    """A host answered; kept for a while."""
    board_.write(_key(report.probe, Role(ids.role_of(report.host))), report.model_dump(mode="json"))


def ask(account: Account, ident: str) -> Asked:
    """Have both hosts look. Raises Refused(not_found | state | unsupported)."""
    with memory.atomic():
        row = scope.one(account, Instance, Verb.EXECUTE, pk=ident)
        if not row.node:
            raise Refused("state", f"{row.name} is on no node", f"it is {row.state}")
        asked = Asked(ids.new("prb"), row.pk, row.name, row.cluster, row.node, clock.now() + PATIENCE_S)
        cluster = Host.objects.filter(pk=row.cluster).first()
        outbox.send(
            NetworkProbe(instance=row.pk, probe=asked.probe), row.cluster, sender=own().id, task=ids.new("tsk"), step="probe",
            deadline=asked.until, speaks=cluster.speaks if cluster else None,
        )
    return asked


def answer(board_: Board, asked: Asked) -> dict[str, Any] | None:
    """What they found, links in order from the guest to the outside and the first broken one; None while one may still answer."""
    asked.heard.update(board_.read([_key(asked.probe, role) for role in (Role.CC, Role.NC)]))
    said = asked.heard
    listed = [(role, LinkFacts.model_validate(each)) for role in (Role.NC, Role.CC) for each in said.get(_key(asked.probe, role), {}).get("links", ())]
    by_cluster = _key(asked.probe, Role.CC) in said
    by_node = _key(asked.probe, Role.NC) in said or any(role is Role.CC and each.link in _NO_NODE and each.state is not LinkState.OK for role, each in listed)
    if not (by_cluster and by_node) and clock.now() < asked.until:
        return None
    if not by_cluster:
        listed.append((Role.CC, _silent("cluster", "Its cluster does not answer", asked.cluster)))
    elif not by_node:
        listed.append((Role.NC, _silent("node", "Its node does not answer", asked.node)))
    return _picture(asked, links.walk(listed))


def check(account: Account, ident: str) -> dict[str, Any]:
    """Ask, and wait for both, as long as there is patience; who does not answer by then is a broken link. Raises as :func:`ask`."""
    asked = ask(account, ident)
    while (picture := answer(board(), asked)) is None:
        clock.sleep(_LOOK_S)
    return picture


def _key(probe: str, role: Role) -> str:
    return f"probe:{probe}:{role}"


def _silent(link: str, what: str, host: str) -> LinkFacts:
    return links.broken(link, what, f"{host} said nothing within {PATIENCE_S:.0f} s",
                        "Look whether that host is up, and its agent runs there; `educloud host list` says when it was heard last.")


def _picture(asked: Asked, walked: list[tuple[Role, LinkFacts]]) -> dict[str, Any]:
    hosts = {Role.CC: asked.cluster, Role.NC: asked.node}
    names = dict(Host.objects.filter(pk__in=hosts.values()).values_list("pk", "name"))

    def shown(role: Role, facts: LinkFacts) -> dict[str, Any]:
        return {"host": hosts[role], "host_name": names.get(hosts[role], ""), "role": str(role)} | facts.model_dump(mode="json")

    first = links.first_broken(walked)
    return {
        "instance": asked.instance, "name": asked.name, "broken": shown(*first) if first else None,
        "links": [shown(*each) for each in walked],
    }
