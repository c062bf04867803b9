"""Edge driver that only remembers the plan: for tests, the simulation and hosts without rights."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cc.drivers.base import EdgePlan, check
from luhyaapi.conf import Settings
from luhyaapi.contracts.specs import LinkFacts, Nic
from luhyaapi.edge import links
from luhyaapi.edge.neighbours import Seen
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.edge.plan import Forward, RulesPlan
from luhyaapi.errors import Trouble


class FakeEdge:
    """Keeps the laws of EdgeDriver in memory. ``trouble``, when set, is raised by every ``apply``; ``applied`` counts the kept ones.

    ``strangers``: who answers for addresses, by MAC; ``heard``: who was seen.
    """

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self.applied = 0
        self.strangers: dict[str, str] = {}
        self.heard: tuple[Seen, ...] = ()
        self._plan: EdgePlan | None = None

    def apply(self, plan: EdgePlan) -> None:
        """Remember the whole plan."""
        check(plan)
        if self.trouble:
            raise self.trouble
        self._plan = plan
        self.applied += 1

    def lend(self, bridge: str, leases: Sequence[EdgeLease]) -> bool:
        """Remember these cards too."""
        plan = self._plan or EdgePlan()
        network = next((each for each in plan.networks if each.bridge == bridge), None)
        if network is None:
            return False
        if self.trouble:
            raise self.trouble
        more = network.model_copy(update={"leases": tuple(dict.fromkeys((*network.leases, *leases)))})
        made = plan.model_copy(update={"networks": tuple(more if each is network else each for each in plan.networks)})
        check(made)
        self._plan = made
        return True

    def rule(self, rules: RulesPlan) -> None:
        """Remember other rules."""
        self.apply((self._plan or EdgePlan()).model_copy(update={"rules": rules}))

    def found(self) -> EdgePlan | None:
        """The plan last applied."""
        return self._plan

    def look(self, nic: Nic, plan: EdgePlan, forwards: Collection[Forward]) -> tuple[LinkFacts, ...]:  # noqa: ARG002 - they are in the plan
        """Whether the plan last applied is this one."""
        if self._plan == plan:
            return links.seen(nic.ip, [("guards", lambda: links.ok("guards", "The packet rules are in force"))])
        why = "the last change has not arrived there"
        return links.seen(nic.ip, [("guards", lambda: links.broken("guards", "The packet rules are older than what is wanted", why, ""))])

    def answering(self, nics: Collection[Nic]) -> dict[str, str]:
        """The strangers among them."""
        return {nic.ip: self.strangers[nic.ip] for nic in nics if nic.ip in self.strangers}

    def seen(self, network: EdgeNetwork) -> tuple[Seen, ...]:  # noqa: ARG002 - there is one wire
        """Whoever was heard."""
        return self.heard

    def close(self) -> None:
        """Nothing to let go of."""

    def down(self) -> None:
        """Forget the plan."""
        self._plan = None


def make(_settings: Settings) -> FakeEdge:
    """The driver, the same for every setting."""
    return FakeEdge()
