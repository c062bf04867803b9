"""A boss and a leaf over the memory wire, with handlers a test writes itself; time moves by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from luhyaapi.agent import Agent
from luhyaapi.clock import ManualClock
from luhyaapi.command.control import CancelTask
from luhyaapi.command.send import compose, stamp
from luhyaapi.conf import Settings
from luhyaapi.contracts.base import Command, Envelope, Report
from luhyaapi.contracts.commands import DomainDelete, DomainStart, DomainStop, ImageDelete, TaskCancel
from luhyaapi.contracts.reports import REPORTS, Outcome
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import Done, Handler, RoleShape
from luhyaapi.wire import identity
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.memory import MemoryDownLink, MemoryUpLink, MemoryWire
from luhyaapi.wire.signing import open_sealed, seal

BOSS, LEAF, TASK = "cc-0000000b", "nc-0000000a", "tsk-00000001"
INSTANCE = "ins-00000001"


class Scripted(Handler[Any]):
    """Writes down its phases; ``on[phase]`` is called in a phase and may raise."""

    def __init__(self, command: type[Command], said: list[str]) -> None:
        self.command = command  # type: ignore[misc]
        self.said = said
        self.on: dict[str, Callable[..., Any]] = {}

    def _phase(self, phase: str, job: Any, command: Any) -> Any:
        self.said.append(f"{phase} {command.subject or command.kind}")
        return self.on.get(phase, lambda _job, _command: None)(job, command)

    def check(self, job: Any, command: Any) -> None:
        self._phase("check", job, command)

    def run(self, job: Any, command: Any) -> Done | None:
        return self._phase("run", job, command)

    def undo(self, job: Any, command: Any) -> None:
        self._phase("undo", job, command)


@dataclass
class Pair:
    """The leaf under test, its boss's keys, and what the boss received."""

    folder: Path
    time: ManualClock
    wire: MemoryWire = field(default_factory=MemoryWire)
    said: list[str] = field(default_factory=list)
    got: list[tuple[Envelope, Report]] = field(default_factory=list)
    inline: bool = True

    def __post_init__(self) -> None:
        self.boss_key, self.leaf_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        authority_key = Ed25519PrivateKey.generate()
        self.authority = identity.make_authority(authority_key)
        self.membership = Membership(
            LEAF, identity.certify(authority_key, self.authority, identity.request(self.leaf_key, "n"), LEAF), self.authority, BOSS,
            identity.certify(authority_key, self.authority, identity.request(self.boss_key, "c"), BOSS), "memory:",
        )
        self.handlers = {c.kind: Scripted(c, self.said) for c in (DomainStart, DomainStop, DomainDelete, ImageDelete)}
        self.down = MemoryDownLink(self.wire, BOSS)
        self.down.admit(LEAF)
        self.down.start(self._heard)
        self.leaf = self.start()

    @property
    def handler(self) -> Scripted:
        """The handler of DomainStop."""
        return self.handlers["domain/stop"]

    def start(self) -> Agent:
        """The leaf, from what it has on disk: call again for its next life."""
        handlers: dict[str, Handler[Any]] = {**self.handlers, "task/cancel": CancelTask()}
        shape = RoleShape(Role.NC, Role.CC, handlers=handlers)
        settings = Settings(host={"role": "nc", "state": self.folder / "nc"})  # type: ignore[arg-type]
        up = MemoryUpLink(self.wire, LEAF)
        self.leaf = Agent(shape, settings, self.membership, self.leaf_key, up=up, inline=self.inline)
        up.start(self.leaf.worker.accept, lambda: None)
        return self.leaf

    def _heard(self, batch: Sequence[tuple[str, bytes]]) -> list[Exception | None]:
        for _sender, message in batch:
            envelope = open_sealed(message, self._key)
            self.got.append((envelope, REPORTS[envelope.kind].model_validate_json(envelope.body)))
        return [None] * len(batch)

    def _key(self, sender: str) -> Ed25519PublicKey | None:
        return {LEAF: self.leaf_key, BOSS: self.boss_key}[sender].public_key()

    def envelope(self, command: Command | None = None, step: str = "0", task: str = TASK, **over: Any) -> Envelope:
        """An order of the boss, DomainStop by default."""
        command = command or DomainStop(instance=INSTANCE)
        order = compose(command, LEAF, sender=BOSS, task=task, step=step, deadline=over.pop("deadline", None))
        return stamp(order, BOSS, 30).model_copy(update=over)

    def post(self, command: Command | None = None, step: str = "0", **over: Any) -> Envelope:
        """Sign and deliver an order; it is accepted and not carried out yet."""
        envelope = self.envelope(command, step, **over)
        self.leaf.worker.accept(seal(envelope, self.boss_key))
        return envelope

    def cancel(self, task: str = TASK, step: str = "cancel") -> None:
        """Deliver a cancel of a task."""
        self.post(TaskCancel(target=task), step, task="tsk-000000cc")

    def step(self) -> int:
        """Let the leaf carry out what is due."""
        return self.leaf.worker.step()

    def outcomes(self) -> list[Outcome]:
        """Outcomes that reached the boss, in order; the leaf's reports are published first."""
        self.leaf.publish()
        self.wire.pump()
        return [r for _, r in self.got if isinstance(r, Outcome)]

    def codes(self) -> list[str]:
        """The error codes of the outcomes, ``done`` where there is none."""
        return [o.error.code if o.error else "done" for o in self.outcomes()]


@pytest.fixture(name="pair")
def pair_fixture(tmp_path: Path, time: ManualClock) -> Pair:
    """A boss and a leaf, inline."""
    return Pair(tmp_path, time)
