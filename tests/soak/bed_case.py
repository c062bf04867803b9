"""One bed under trial: something is asked for, something is done to it, and within two minutes all must be at rest again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from deploy.testbed.bed import Bed
from luhyaapi.errors import Failed, Trouble
from tests.soak import bed_deaths, bed_truth, ledger
from tests.support.bed_sight import NODES, guests

REST_S = 120.0
_MOST = 8
_LOGS, _BEGAN = "hypervisor/log/libvirt/qemu", ": starting up libvirt"
_RESTING = {"running": True, "stopped": False, "failed": False}


class Case:
    """A bed with a standing guest on each node that nothing may ever touch; others come and go."""

    def __init__(self, bed: Bed, chance: random.Random) -> None:
        self.bed, self.chance = bed, chance
        self.taken: list[tuple[str, str, str]] = []
        self._standing: dict[str, int] = {}
        self._deaths: list[tuple[str, str, str]] = []

    def next_death(self) -> tuple[str, str, str]:
        """Which process dies at which moment now: each once before any a second time, and first what the ledger has seen least of."""
        if not self._deaths:
            self._deaths = bed_deaths.cases()
            self.chance.shuffle(self._deaths)
            seen = ledger.runs("deaths")
            self._deaths.sort(key=lambda death: -seen.get(bed_deaths.point(*death), 0))
        return self._deaths.pop()

    def stand(self) -> None:
        """Have the standing guests run, and remember their processes."""
        for node in NODES:
            other = next(h for h in self._hosts() if h["name"] in NODES and h["name"] != node)
            self.bed.educloud("host", "drain", other["id"])
            self.bed.answer("instance", "run", "--image", "tiny", timeout_s=180)
            self.bed.educloud("host", "resume", other["id"])
        self.note_standing()

    def leave(self) -> None:
        """Nothing of it stays."""
        for one in self._instances():
            self.bed.educloud("instance", "delete", one["id"], "--yes", timeout_s=180)

    def note_standing(self) -> None:
        """These processes are the ones that must go on."""
        self._standing = {name[6:]: pid for node in NODES for name, pid in self.bed.programs(node).items() if name.startswith("guest ")}

    def standing(self) -> dict[str, tuple[int, str]]:
        """The standing guests with process and node."""
        where = guests(self.bed)
        return {one: (pid, where.get(one, [self._node_of(one)])[0]) for one, pid in self._standing.items()}

    def forget(self, instance: str) -> None:
        """It may be touched from now on."""
        self._standing.pop(instance)

    def _node_of(self, instance: str) -> str:
        return next((str(i["host_name"]) for i in self._instances() if i["id"] == instance), "")

    def ask(self, *, delete: bool = True) -> str:
        """Something is asked for and not waited for; what. Of what was taken :attr:`taken` keeps task, verb and instance."""
        ours = [i for i in self._instances() if i["id"] not in self._standing]
        found = [i for i in ours if i["state"] in _RESTING]
        verbs = ["run"] * (3 if len(ours) < _MOST else 0)
        verbs += ["delete"] * bool(found and delete) + ["stop"] * any(i["state"] == "running" for i in found)
        verbs += ["start"] * any(i["state"] == "stopped" for i in found)
        if not verbs:
            return ""
        verb = self.chance.choice(verbs)
        if verb == "run":
            task = self.bed.answer("instance", "run", "--image", "tiny", "--no-wait")
        else:
            fit = [i for i in found if verb == "delete" or i["state"] == {"stop": "running", "start": "stopped"}[verb]]
            more = ["--yes"] if verb == "delete" else []
            task = self.bed.answer("instance", verb, self.chance.choice(fit)["id"], "--no-wait", *more)
        assert isinstance(task, dict)
        self.taken.append((str(task["id"]), verb, str(task["subject"])))
        return f"{verb} {task['subject']}"

    def once(self) -> str:
        """Everything taken since :attr:`taken` was emptied was done, and each guest was begun as often as that was taken; in words how much that was.

        libvirt itself writes down each start. Raises AssertionError.
        """
        states = {task: self.bed.answer("task", "show", task)["state"] for task, _, _ in self.taken}  # type: ignore[call-overload, index]
        assert set(states.values()) <= {"done"}, f"taken and not done: {states}"
        ours = {instance for _, verb, instance in self.taken if verb == "run"}
        asked = Counter(instance for _, verb, instance in self.taken if verb in ("run", "start") and instance in ours)
        begun = {instance: self._begun(instance) for instance in ours}
        assert begun == asked, f"begun {begun}, asked for {dict(asked)}"
        return f"{len(states)} orders, {sum(begun.values())} starts"

    def _begun(self, instance: str) -> int:
        logs = (self.bed.folder / node / "files/var/lib/educloud" / _LOGS / f"{instance}.log" for node in NODES)
        return sum(log.read_text("utf-8", "replace").count(_BEGAN) for log in logs if log.exists())

    def rest(self) -> float:
        """Wait until all is at rest; how long it took. Raises AssertionError with what is wrong: late, twice, left over, or touched."""
        began = time.monotonic()
        bed_truth.at_rest(self.bed, began + REST_S, f"after {REST_S:.0f} s")
        gone = {one for one in self._standing if self._guests_by_pid().get(one) != self._standing[one]}
        assert not gone, f"standing guests were touched: {gone}"
        self._tidy()
        return time.monotonic() - began

    def _tidy(self) -> None:
        """What failed is told and goes; the user would do that."""
        for one in self._instances():
            if one["state"] == "failed":
                self.bed.educloud("instance", "delete", one["id"], "--yes")

    def patiently(self, work: Callable[[], Any]) -> Any:
        """What a client does when it is told to come back."""
        until = time.monotonic() + REST_S
        while True:
            try:
                return work()
            except (Failed, Trouble, ValueError):
                if time.monotonic() > until:
                    raise
                time.sleep(1)

    def _guests_by_pid(self) -> dict[str, int]:
        return {name[6:]: pid for node in NODES for name, pid in self.bed.programs(node).items() if name.startswith("guest ")}

    def _instances(self) -> list[dict[str, Any]]:
        found: Any = self.bed.answer("instance", "list")
        return list(found)

    def _hosts(self) -> list[dict[str, Any]]:
        found: Any = self.bed.answer("host", "list")
        return list(found)
