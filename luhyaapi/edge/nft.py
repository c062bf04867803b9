"""Rules by nftables, in process: one transaction a change, one element a forward."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luhyaapi.edge import kernel, ruleset
from luhyaapi.edge.base import exchanged, nothing_applied, of_name
from luhyaapi.edge.libnft import Nftables
from luhyaapi.edge.plan import Forward, Key, RulesPlan, Taken, check, check_forward, is_limited, key
from luhyaapi.edge.ruleset import FORWARDS, Ruleset
from luhyaapi.edge.tables import STATIC


@dataclass
class _InForce:
    """What our last transaction left. ``static``: our tables without elements; ``generation``: of the ruleset when they were seen so.

    An exchange changes ``forwards``, ``uses`` (how many have an address) and ``made``, and the plan when somebody asks for it.
    """

    plan: RulesPlan
    made: Ruleset
    taken: Taken
    static: list[dict[str, Any]] | None = None
    generation: int | None = None
    forwards: dict[Key, Forward] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    is_behind: bool = False


class NftRules:
    """The tables ``inet educloud-<name>`` and ``bridge educloud-<name>``.

    That nobody changed them since our last transaction is known by the kernel's number of the ruleset, which costs nothing; when somebody
    changed anything at all, they are read and compared. Rules of others stand beside these: what those drop (a forward chain whose
    policy is drop) no rule of ours brings back.
    """

    def __init__(self, name: str) -> None:
        self._name, self._table = name, f"educloud-{name}"
        self._nft = Nftables()
        self._lock = threading.Lock()
        self._now: _InForce | None = None

    @property
    def name(self) -> str:
        """What its plans are called."""
        return self._name

    def apply(self, plan: RulesPlan) -> None:
        """Only what differs, in one transaction; all of it, also in one, when the tables are not as this driver left them."""
        of_name(plan, self._name)
        taken = check(plan)
        with self._lock:
            self._apply(plan, taken)

    def exchange(self, gone: Iterable[Forward], new: Iterable[Forward]) -> None:
        """One element less, one more; what needs elements of other sets too is done as a plan."""
        with self._lock:
            now = self._now
            if now is None:
                raise nothing_applied()
            left = exchanged(now.forwards, gone, new)
            before = [now.forwards[each] for each in left if each in now.forwards]
            after = [forward for forward in left.values() if forward]
            for forward in after:
                check_forward(forward, now.taken)
            if _is_plain(now, before, after) and self._is_untouched(now):
                less, more = ruleset.entries(before), ruleset.entries(after)
                self._commit(now, ruleset.difference(Ruleset({FORWARDS: less}), Ruleset({FORWARDS: more}), self._table))
                _note(now, left, less, more)
            else:
                kept = (forward for each, forward in now.forwards.items() if each not in left)
                self._apply(now.plan.model_copy(update={"forwards": (*kept, *after)}), now.taken)

    def found(self) -> RulesPlan | None:
        """The plan last applied, when the kernel holds exactly that."""
        with self._lock:
            now = self._now
            if now is None:
                return None
            if not self._is_untouched(now) or not kernel.is_ready(now.plan):
                self._now = None
                return None
            if now.is_behind:
                now.plan = now.plan.model_copy(update={"forwards": tuple(now.forwards.values())})
                now.is_behind = False
            return now.plan

    def close(self) -> None:
        """The rules outlive us; the next driver of this name replaces them in one transaction."""
        self._nft.close()

    def down(self) -> None:
        """Both tables away."""
        with self._lock:
            self._nft.run(ruleset.none(self._table))
            self._now = None

    def _apply(self, plan: RulesPlan, taken: Taken) -> None:
        old = self._now if self._now and self._is_untouched(self._now) else None
        uses = Counter(forward.address for forward in plan.forwards)
        now = _InForce(plan, ruleset.render(plan, is_router=kernel.is_router()), taken, forwards={key(each): each for each in plan.forwards}, uses=uses)
        if old and (old.plan.segments, old.plan.uplinks, old.plan.inner) == (plan.segments, plan.uplinks, plan.inner):
            text = ruleset.difference(old.made, now.made, self._table)
            now.static, now.generation = old.static, old.generation
        else:
            old, text = None, ruleset.whole(now.made, self._table)
            now.generation = self._nft.generation()
        if not old or not text:
            kernel.prepare(plan)
        self._commit(now, text)
        if not old or old.made.chains.keys() != now.made.chains.keys():
            static = self._listed()
            now.static = static if self._nft.generation() == now.generation else None
        self._now = now

    def _commit(self, now: _InForce, text: str) -> None:
        """Change the tables, which were seen in the generation we remember."""
        if text:
            self._nft.run(text)
            generation = self._nft.generation()
            # More than one step: somebody else changed something in between, perhaps here.
            now.generation = generation if generation - 1 == now.generation else None

    def _is_untouched(self, now: _InForce) -> bool:
        """Whether the tables are as our last transaction left them."""
        generation = self._nft.generation()
        if generation != now.generation:
            static = self._listed()
            if static != now.static or ruleset.elements_of(self._listed_sets(static)) != now.made.elements:
                return False
            now.generation = generation
        return True

    def _listed(self) -> list[dict[str, Any]]:
        """Our tables without the elements of their sets. Of all commands only "list ruleset" does not read elements for that."""
        rules = [each for family in STATIC for each in self._nft.read(f"list ruleset {family}", terse=True)]
        return [each for each in rules for kind, body in each.items() if body.get("name" if kind == "table" else "table") == self._table]

    def _listed_sets(self, static: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        sets = [(kind, body) for each in static for kind, body in each.items() if kind in ("set", "map")]
        return [each for kind, body in sets for each in self._nft.read(f"list {kind} {body['family']} {self._table} {body['name']}")]


def _is_plain(now: _InForce, before: Iterable[Forward], after: Iterable[Forward]) -> bool:
    """Whether an exchange concerns one map only: for anyone, at addresses that have forwards before and after."""
    change = Counter(forward.address for forward in after)
    change.subtract(forward.address for forward in before)
    limited = any(map(is_limited, (*before, *after)))
    return not limited and all(now.uses[each] > 0 and now.uses[each] + by > 0 for each, by in change.items())


def _note(now: _InForce, left: Mapping[Key, Forward | None], less: Mapping[str, str], more: Mapping[str, str]) -> None:
    entries = now.made.elements[FORWARDS]
    for entry in less:
        del entries[entry]
    entries |= more
    for each, forward in left.items():
        if before := now.forwards.pop(each, None):
            now.uses[before.address] -= 1
        if forward:
            now.forwards[each] = forward
            now.uses[forward.address] += 1
    now.is_behind = True
