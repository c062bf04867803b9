"""Edge driver for hosts without rights: QEMU itself answers each guest's DHCP, so the plan is kept and nothing is served."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from cc.drivers.base import EdgePlan, check
from luhyaapi.conf import Settings
from luhyaapi.contracts.specs import LinkFacts, Nic
from luhyaapi.edge.neighbours import Seen
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork
from luhyaapi.edge.plan import Forward, RulesPlan
from luhyaapi.errors import Failed


class UserEdge:
    """The plan in ``folder``/plan.json, where an administrator can read what is lent."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "plan.json"

    def apply(self, plan: EdgePlan) -> None:
        """Keep the whole plan."""
        check(plan)
        text = plan.model_dump_json()
        try:
            if self._read() == text:
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part = self._file.with_suffix(".part")
            part.write_text(text, "utf-8")
            part.replace(self._file)
        except OSError as e:
            raise Failed("network", f"The network's plan could not be kept in {self._file.parent}", str(e)) from e

    def lend(self, bridge: str, leases: Sequence[EdgeLease]) -> bool:  # noqa: ARG002 - the plan is one file
        """Nothing is served, so nothing can be sooner than the plan."""
        return False

    def rule(self, rules: RulesPlan) -> None:
        """Keep other rules: nobody carries them out, as nothing but its forwarded ports reaches a guest."""
        self.apply((self.found() or EdgePlan()).model_copy(update={"rules": rules}))

    def found(self) -> EdgePlan | None:
        """The plan last applied, also by a process before this one."""
        try:
            return EdgePlan.model_validate_json(self._read())
        except ValueError:
            return None

    def look(self, nic: Nic, plan: EdgePlan, forwards: Collection[Forward]) -> tuple[LinkFacts, ...]:  # noqa: ARG002 - nothing of it is here
        """Nothing of the way is on this host: each guest is alone in a network of its node's."""
        return ()

    def answering(self, nics: Collection[Nic]) -> dict[str, str]:  # noqa: ARG002 - no guest is on a wire
        """Nobody: each guest is alone in its network."""
        return {}

    def seen(self, network: EdgeNetwork) -> tuple[Seen, ...]:  # noqa: ARG002 - no guest is on a wire
        """Nobody: each guest is alone in its network."""
        return ()

    def close(self) -> None:
        """Nothing to let go of."""

    def down(self) -> None:
        """Forget the plan."""
        self._file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.parent.rmdir()

    def _read(self) -> str:
        try:
            return self._file.read_text("utf-8")
        except FileNotFoundError:
            return ""


def make(settings: Settings) -> UserEdge:
    """The driver, remembering below the role's state folder."""
    return UserEdge(settings.host.state / "edge")
