"""RulesDriver: the packet rules of a host as one wanted plan, and the laws every driver keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from luhyaapi.edge.plan import Forward, Key, RulesPlan, key
from luhyaapi.errors import Refused


class RulesDriver(Protocol):
    """The rules of one plan's name, in the network namespace of the thread that calls.

    *Whole.* ``apply`` brings everything to what the plan says, from whatever was there, and may be called again at will: it heals what
    was flushed or altered. *All or nothing.* A plan that cannot be (Refused) or that the host does not take (Failed(network),
    Failed(missing)) changes no rule; every packet meets the old rules or the new ones. *Gentle.* No connection that both plans allow is
    cut, and one changed forward costs one element, not a table. *Own.* No table, chain or rule is touched that this driver did not make;
    drivers of other names on the same host stand beside it.

    What lets a connection in lets in its answers. What may reach a card is asked of each packet, so a permission that is taken back
    ends what it let in; a forward that is taken back begins nothing new, and what it began goes on.

    ``exchange`` is ``apply`` of the plan in force without ``gone`` and with ``new`` forwards at its end; its cost does not grow with the
    plan. Raises Refused(state) with nothing to begin from (before the first ``apply``, after ``found`` said None), Refused(invalid) as ``apply``.

    ``found`` is the plan in force, or None: nothing is, or it is not what this driver applied (flushed, altered, of an earlier process;
    links made anew without their settings). None means: apply.

    ``close`` lets go without touching the rules; ``down`` leaves none of them. Bridges and taps are others' work: the bridges of the plan
    shall be there before it, the rules of a tap before its guest runs. ``name`` is that of its plans.
    """

    @property
    def name(self) -> str: ...

    def apply(self, plan: RulesPlan) -> None: ...
    def exchange(self, gone: Iterable[Forward], new: Iterable[Forward]) -> None: ...
    def found(self) -> RulesPlan | None: ...
    def close(self) -> None: ...
    def down(self) -> None: ...


def of_name(plan: RulesPlan, name: str) -> None:
    """Raises Refused(invalid) for a plan that is another driver's."""
    if plan.name != name:
        raise Refused("invalid", "The rules of the network are not valid", f"they are those of {plan.name}, not of {name}")


def exchanged(there: Mapping[Key, Forward], gone: Iterable[Forward], new: Iterable[Forward]) -> dict[Key, Forward | None]:
    """By key what an exchange leaves of the forwards it names, None: nothing; those that are there afterwards in the order of ``new``.

    Raises Refused(invalid) for a forward of ``gone`` that is not there, or of ``new`` that is there or comes twice.
    """
    left: dict[Key, Forward | None] = {}
    for forward in gone:
        each = key(forward)
        if there.get(each) != forward or each in left:
            raise _refused(forward, "is not there to be taken away")
        left[each] = None
    for forward in new:
        each = key(forward)
        if left.get(each, there.get(each)) is not None:
            raise _refused(forward, "is forwarded twice")
        left.pop(each, None)
        left[each] = forward
    return left


def with_exchanged(plan: RulesPlan | None, gone: Iterable[Forward], new: Iterable[Forward]) -> RulesPlan:
    """The plan after an exchange. Raises as :func:`exchanged`, and Refused(state) when there is no plan."""
    if plan is None:
        raise nothing_applied()
    there = {key(forward): forward for forward in plan.forwards}
    left = exchanged(there, gone, new)
    forwards = [*(f for k, f in there.items() if k not in left), *filter(None, left.values())]
    return plan.model_copy(update={"forwards": tuple(forwards)})


def nothing_applied() -> Refused:
    """What an exchange is told that has nothing to begin with."""
    return Refused("state", "There are no rules to change", "nothing was applied yet, or it is not there any more")


def _refused(forward: Forward, why: str) -> Refused:
    return Refused("invalid", "The rules of the network are not valid", f"{forward.protocol} {forward.address}:{forward.port} {why}")
