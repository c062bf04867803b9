"""The queue of runs: whose turn it is, what each cluster had no room for, and why somebody waits: the only writer of Turn and Gate.

Owners take turns: a run gets the round after its owner's last one, and nobody begins in a round that is over. Which node has
room only the cluster knows, so it is asked: who is first is handed down, and comes back when it is refused. A cluster that
refused somebody is asked for one at a time, and for nothing as big as what it refused until something became free there. Where it
was an address that there was none of, it is asked for nobody who needs one of the same networks, however small.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db.models import Max, Min, Q, QuerySet

from clc.services import cards
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import HostState, Role, TaskState
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Account, Card, Gate, Host, ImageVersion, Instance, Task, Turn

ASK_AGAIN_S = 30.0
"""A full cluster is asked again after this also when nobody told that something became free."""
NO_ADDRESS = "No address is free"
"""What a cluster says that has room and no address."""
_UP = (HostState.UP, HostState.DRAINING)


def check(account: Account, count: int) -> None:
    """Whether so many more may wait. Raises Unavailable(no_capacity), Refused(quota)."""
    limits = settings.EDUCLOUD.queue
    waiting = Turn.objects.filter(handed_at=0)
    if (there := waiting.count()) + count > limits.at_most:
        raise Unavailable("no_capacity", "The queue is full", f"{there} runs wait, at most {limits.at_most} can")
    if (mine := waiting.filter(owner=account).count()) + count > limits.each_at_most:
        raise Refused("quota", "Too many runs of yours would wait", f"{mine} wait, at most {limits.each_at_most} can")


def enter(task: Task, row: Instance, image: ImageVersion | None = None) -> None:
    """A run waits for its turn, or a new system disk from ``image``, which needs no room. In a transaction of the caller's."""
    mine = Turn.objects.filter(owner=row.owner_id).aggregate(last=Max("number"))["last"] or 0
    now = Turn.objects.filter(placed_at=0).aggregate(first=Min("number"))["first"] or 0
    needs = {} if row.node else {"disk_mib": row.data_disk_mib}
    needs |= {"cpus": 0, "memory_mib": 0} if image else {"cpus": row.cpus, "memory_mib": row.memory_mib}
    cluster = row.cluster if row.node else cards.cluster_of(row)
    Turn.objects.create(
        task=task, owner_id=row.owner_id, number=max(mine + 1, now), image=image, node=row.node, **needs,
        cluster=cluster, is_bound=bool(cluster), until=clock.now() + settings.EDUCLOUD.queue.wait_s,
    )


def leave(task: str) -> bool:
    """A run that waits does so no more; False when it is not in the queue, or was handed down."""
    return bool(Turn.objects.filter(task=task, handed_at=0).delete()[0])


def waits(task: str) -> bool:
    """Whether it is in the queue, and was not handed down."""
    return Turn.objects.filter(task=task, handed_at=0).exists()


def hand_over(of: Account, to: Account) -> None:
    """Runs of somebody wait for somebody else from now on, each in its round. In a transaction."""
    Turn.objects.filter(owner=of).update(owner=to)


def forget(task: str) -> None:
    """A run ended."""
    Turn.objects.filter(task=task).delete()


def is_empty() -> bool:
    """Whether nobody waits."""
    return not Turn.objects.filter(handed_at=0).exists()


# ---- handing down


def gates() -> list[Gate]:
    """The gates of all clusters that answer, locked: nobody else hands down until this transaction ends."""
    up = list(Host.objects.filter(role=Role.CC, state__in=_UP).order_by("pk").values_list("pk", flat=True))
    for cluster in up:
        Gate.objects.get_or_create(pk=cluster)
    return list(Gate.objects.select_for_update().filter(pk__in=up).order_by("pk"))


def next_for(gate: Gate) -> Turn | None:
    """Whose turn it is at a cluster now; None when it is to be asked for nobody."""
    under_way = Turn.objects.filter(cluster=gate.pk, handed_at__gt=0)
    nodes = Host.objects.filter(role=Role.NC, boss=gate.pk, state__in=_UP).count()
    if under_way.count() >= settings.EDUCLOUD.queue.per_node * max(nodes, 1):
        return None
    if gate.careful and under_way.filter(placed_at=0).exists():
        return None
    # a moment too far away was set before our clock went back
    if gate.refused and not 0 < gate.ask_at - clock.now() <= ASK_AGAIN_S:
        gate.refused = []
        gate.save(update_fields=["refused"])
    return _fitting(gate).order_by("number", "id").first()


def _fitting(gate: Gate) -> QuerySet[Turn]:
    """Those who wait for this cluster, without such as it has just refused."""
    rows = Turn.objects.select_related("task").filter(Q(cluster="") | Q(cluster=gate.pk), handed_at=0)
    for each in gate.refused:
        if each.get("networks"):
            rows = rows.exclude(node="", task__subject__in=_in_all(each["networks"]))
            continue
        there = {"node": each["node"]} if each["node"] else {}
        rows = rows.exclude(cpus__gte=each["cpus"], memory_mib__gte=each["memory_mib"], disk_mib__gte=each["disk_mib"], **there)
    return rows


def _in_all(networks: Iterable[str]) -> QuerySet[Instance]:
    """The instances that have a card in each of these networks."""
    rows = Instance.objects.order_by()
    for each in networks:
        rows = rows.filter(**({"cards__network": None} if each == cards.DEFAULT else {"cards__network": each}))
    return rows.values("pk")


def hand(turn: Turn, cluster: str) -> bool:
    """It is given to a cluster now; False when it left the queue at the same moment."""
    return bool(Turn.objects.filter(pk=turn.pk, handed_at=0).update(cluster=cluster, handed_at=clock.now()))


def placed(task: str) -> None:
    """The cluster has a node for it."""
    Turn.objects.filter(task=task, handed_at__gt=0, placed_at=0).update(placed_at=clock.now())


def asked_by(command: str) -> Turn | None:
    """The run that was handed down by this order and has no node yet."""
    return Turn.objects.select_related("task").filter(task__command=command, handed_at__gt=0, placed_at=0).first()


def refuse(turn: Turn, what: str, why: str) -> None:
    """The cluster has no room for it: it waits on, in its round."""
    gate, _ = Gate.objects.select_for_update().get_or_create(pk=turn.cluster)
    networks = _networks_of(turn) if what == NO_ADDRESS else []
    size = {**(_nothing_but(networks) if networks else _size(turn)), "what": what, "why": why}
    gate.refused = [each for each in gate.refused if not _covers(size, each)] + [size]
    gate.careful, gate.ask_at = True, clock.now() + ASK_AGAIN_S
    gate.save()
    turn.cluster, turn.handed_at, turn.attempt = turn.cluster if turn.is_bound else "", 0, turn.attempt + 1
    Turn.objects.filter(pk=turn.pk).update(cluster=turn.cluster, handed_at=0, attempt=turn.attempt)


def _size(turn: Turn) -> dict[str, Any]:
    return {"cpus": turn.cpus, "memory_mib": turn.memory_mib, "disk_mib": turn.disk_mib, "node": turn.node}


def _covers(small: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether who refuses the first refuses the other."""
    fits = all(small[each] <= other[each] for each in ("cpus", "memory_mib", "disk_mib")) and small["node"] in ("", other["node"])
    return fits and set(small.get("networks", ())) <= set(other.get("networks", ()))


def _nothing_but(networks: list[str]) -> dict[str, Any]:
    return {"cpus": 0, "memory_mib": 0, "disk_mib": 0, "node": "", "networks": networks}


def _networks_of(turn: Turn) -> list[str]:
    """In which networks it needs an address; none: it has its addresses since it had a place."""
    if turn.node:
        return []
    found = Card.objects.filter(instance=turn.task.subject).values_list("network", flat=True)
    return [each or cards.DEFAULT for each in found] or [cards.DEFAULT]


def freed(cluster: str) -> None:
    """Something became free there: everybody may be asked for again."""
    Gate.objects.filter(pk=cluster).exclude(ask_at=0).update(refused=[], ask_at=0)


def calm() -> None:
    """Nobody waits any more: what was refused is forgotten."""
    Gate.objects.filter(careful=True).update(refused=[], ask_at=0, careful=False)


def overdue() -> list[Turn]:
    """Those who waited as long as they may. Who seems to have longer entered before our clock was set back: from now on."""
    most = clock.now() + settings.EDUCLOUD.queue.wait_s
    Turn.objects.filter(until__gt=most + 1).update(until=most)
    return list(Turn.objects.select_related("task").filter(handed_at=0, until__lt=clock.now()).order_by("id"))


def forget_lost() -> None:
    """A run of which there was no news before its deadline takes nobody's turn."""
    Turn.objects.filter(task__state=TaskState.LOST).delete()


# ---- looking


def looks(tasks: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Where these tasks stand, of those that have no node yet: ``place`` of ``of``, why (``what``, ``why``), ``until`` when at most."""
    rows = list(Turn.objects.filter(task__in=list(tasks), placed_at=0))
    if not rows:
        return {}
    line = list(Turn.objects.filter(placed_at=0).order_by("number", "id").values_list("pk", flat=True))
    places = {turn: n for n, turn in enumerate(line, 1)}
    reasons = _Reasons()
    found = {}
    for r in rows:
        what, why = reasons.of(r)
        place = places.get(r.pk, len(line))
        found[r.task_id] = {"place": place, "of": len(line), "what": what, "why": why, "until": clock.rfc3339(r.until)}
    return found


def reason(turn: Turn) -> tuple[str, str]:
    """Why it waits: what, and the details."""
    return _Reasons().of(turn)


class _Reasons:
    """What the reasons to wait depend on, read once, and only if somebody waits."""

    @cached_property
    def _up(self) -> list[tuple[str, str]]:
        return list(Host.objects.filter(role__in=[Role.CC, Role.WALRUS], state__in=_UP).values_list("pk", "role"))

    @cached_property
    def _refused(self) -> dict[str, Any]:
        return dict(Gate.objects.values_list("pk", "refused"))

    def of(self, turn: Turn) -> tuple[str, str]:
        if turn.handed_at:
            return "A node is being chosen", ""
        if all(role != Role.WALRUS for _, role in self._up):
            return "The image store does not answer now", ""
        clusters = [c for c, role in self._up if role == Role.CC and turn.cluster in ("", c)]
        if not clusters:
            return "Its cluster does not answer now" if turn.cluster else "No cluster answers now", ""
        refused = [each for cluster in clusters for each in self._refused.get(cluster, ())]
        size = _size(turn) | ({"networks": _networks_of(turn)} if any(each.get("networks") for each in refused) else {})
        for each in refused:
            if _covers(each, size):
                return each["what"], each["why"]
        return "Others are started first", ""
