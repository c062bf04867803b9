"""What a host may say of what is not its own: each well made, none its own to say."""

from __future__ import annotations

from luhyaapi.contracts.base import Report
from luhyaapi.contracts.reports import InstanceFacts, Outcome, PlacementFacts
from luhyaapi.contracts.specs import Fault
from luhyaapi.contracts.vocabulary import InstanceState
from tests.simulator.snapshot import rows

_NEWER = 1000
"""Of a generation that nobody has given yet: no old news."""
_FAULT = Fault(code="hypervisor", what="It did not start", why="a lie")


def of(name: str, me: str, dice: float) -> Report | None:
    """A lie of the host ``name``, whose id is ``me``, to its boss; None when there is nothing to lie about."""
    told = _to_clc(me) if name == "walrus" else _to_cc(me)
    return told[int(dice * len(told))] if told else None


def _to_cc(me: str) -> list[Report]:
    places = rows("cc", "placement", "instance, node, wanted", "order by instance")
    told = [_opposite(place["instance"], place["wanted"]) for place in places if place["node"] != me]
    for run in rows("cc", "flowrun", "waiting, task, facts", "where ended_at = 0 and waiting != '' order by command"):
        if run["facts"].get("at") != me:
            told += _ends(run["waiting"], run["task"])
    return told


def _to_clc(me: str) -> list[Report]:
    told: list[Report] = []
    for row in rows("default", "instance", "id, wanted", "where state != 'deleted' order by id"):
        told += [_opposite(row["id"], row["wanted"]), PlacementFacts(instance=row["id"], task="", node="", fence=0)]
    for task in rows("default", "task", "id, command, receiver", "where state in ('queued', 'running') order by id"):
        if task["receiver"] != me:
            told += _ends(task["command"], task["id"])
    return told


def _opposite(instance: str, wanted: str) -> Report:
    state = InstanceState.STOPPED if wanted == "running" else InstanceState.RUNNING
    return InstanceFacts(instance=instance, state=state, gen=_NEWER)


def _ends(command: str, task: str) -> list[Report]:
    return [Outcome(command=command, task=task), Outcome(command=command, task=task, error=_FAULT)]
