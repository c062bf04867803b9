"""Rules that are only remembered: for tests, the simulation and hosts without rights."""

from __future__ import annotations

from collections.abc import Iterable

from luhyaapi.edge.base import of_name, with_exchanged
from luhyaapi.edge.plan import Forward, RulesPlan, check
from luhyaapi.errors import Trouble


class FakeRules:
    """Keeps the laws of RulesDriver in memory. ``trouble``, when set, is raised by every ``apply``; ``applied`` counts the kept ones."""

    def __init__(self, name: str) -> None:
        self.trouble: Trouble | None = None
        self.applied = 0
        self._name = name
        self._plan: RulesPlan | None = None

    @property
    def name(self) -> str:
        """What its plans are called."""
        return self._name

    def apply(self, plan: RulesPlan) -> None:
        """Remember the whole plan."""
        of_name(plan, self._name)
        check(plan)
        if self.trouble:
            raise self.trouble
        self._plan = plan
        self.applied += 1

    def exchange(self, gone: Iterable[Forward], new: Iterable[Forward]) -> None:
        """Remember the plan with other forwards."""
        self.apply(with_exchanged(self._plan, gone, new))

    def found(self) -> RulesPlan | None:
        """The plan last applied."""
        return self._plan

    def close(self) -> None:
        """Nothing to let go of."""

    def down(self) -> None:
        """Forget the plan."""
        self._plan = None
