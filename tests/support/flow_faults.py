"""What can happen to the messages of one instance, each told by number; many instances suffer at once in one cloud."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from luhyaapi import clock
from tests.support.flow_world import World, opened

FAULTS = ("drop", "double", "late", "swap")
LATE_S = 60.0


@dataclass
class Suffering:
    """One subject's messages: the ``at``-th (from 0) suffers ``fault``; ``seen`` tells what went over the wire."""

    fault: str = ""
    at: int = -1
    seen: list[str] = field(default_factory=list)
    held: tuple[str, str, bytes] | None = None


class Storm:
    """Goes between the ends of a world's wire. ``watch(task, subject)`` begins to count the messages of one case."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cases: dict[str, Suffering] = {}
        self._late: list[tuple[float, str, str, bytes]] = []
        self.unknown: dict[str, int] = defaultdict(int)
        world.tap(self._fault)

    def watch(self, case: Suffering, *names: str) -> Suffering:
        """Messages that name one of these (task or instance) belong to the case."""
        for name in names:
            self._cases[name] = case
        return case

    def _fault(self, direction: str, host: str, message: bytes) -> list[bytes]:
        envelope = opened(message)
        case = self._cases.get(envelope["task"]) or self._cases.get(envelope["subject"])
        if case is None:
            self.unknown[envelope["kind"]] += 1
            return [message]
        n = len(case.seen)
        case.seen.append(f"{direction} {envelope['kind']} {envelope['id']}")
        if case.held and case.held[:2] == (direction, host):
            held, case.held = case.held, None
            return [message, held[2]]
        if n != case.at or not case.fault:
            return [message]
        if case.fault == "double":
            return [message, message]
        if case.fault == "late":
            self._late.append((clock.now() + LATE_S, direction, host, message))
        if case.fault == "swap":
            case.held = direction, host, message
        return []

    def release(self) -> None:
        """Deliver what was held long enough."""
        now = clock.now()
        due = [late for late in self._late if late[0] <= now]
        self._late = [late for late in self._late if late[0] > now]
        for _, direction, host, message in due:
            self._world.inject(direction, host, message)
        for case in {id(c): c for c in self._cases.values()}.values():
            if case.held:
                self._world.inject(*case.held)
                case.held = None

    def pass_time(self, longest_s: float) -> None:
        """Time goes by until everything is at rest, and at most so long; what is late arrives in between."""
        for _ in range(int(longest_s // 5)):
            if not self._late and not self._world.open_things():
                break
            self._world.p.pass_time(5)
            self.release()
        self._world.p.pass_time(5)
