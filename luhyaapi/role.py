"""Role, Handler, @handles, @reduces: the shape every role folder fills in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from luhyaapi.contracts.base import Command, Envelope, Report
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.vocabulary import Role as RoleName
from luhyaapi.errors import Bug

C = TypeVar("C", bound=Command)


class Job(Protocol):
    """What a handler is given beside its command."""

    id: str
    task: str
    envelope: Envelope
    services: Any

    def checkpoint(self) -> None:
        """Raises Refused(cancelled) once the task is cancelled, Unavailable(interrupted) when the role stops."""

    def cancelled(self) -> bool:
        """Whether checkpoint() would raise."""

    def progress(self, phase: str, done: int, total: int, prompt: str = "") -> None:
        """Tell how far a long step is, in bytes."""


@dataclass(frozen=True)
class Done:
    """What a handler answers: facts for the Outcome. ``pending`` means a flow will send the Outcome."""

    facts: dict[str, Any] = field(default_factory=dict)
    pending: bool = False


PENDING = Done(pending=True)


class Handler(Generic[C]):
    """One command's work in three phases. ``check`` changes nothing; ``run`` is idempotent; ``undo`` leaves nothing behind."""

    command: ClassVar[type[Command]]
    tries: ClassVar[int] = 1
    """How often it is carried out before a failure is told; more than once only where trying again may help."""

    def check(self, job: Job, command: C) -> None:
        """Fast refusal, before anything changes."""

    def is_past_cancelling(self, job: Job, command: C) -> bool:  # noqa: ARG002 - most orders can be taken back at any time
        """Whether it was begun before, and half of it is worse than all: then it goes on though its task was cancelled."""
        return False

    def run(self, job: Job, command: C) -> Done | None:  # noqa: ARG002 - a handler's own run says what it does
        """Do it; again after a crash."""
        raise Bug(f"{type(self).__name__} does nothing")

    def undo(self, job: Job, command: C) -> None:
        """Take back the half that was done."""


def handles(command: type[Command]) -> Callable[[type[Handler[Any]]], type[Handler[Any]]]:
    """Marks a class as the handler of a command."""

    def mark(cls: type[Handler[Any]]) -> type[Handler[Any]]:
        cls.command = command
        return cls

    return mark


def reduces(report: type[Report]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks a function ``(services, envelope, report)`` as the reducer of a report."""

    def mark(function: Callable[..., None]) -> Callable[..., None]:
        function.reduces = report  # type: ignore[attr-defined]
        return function

    return mark


def reduces_all(report: type[Report]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks a function ``(services, reports)`` as the reducer of all reports of a kind that came at once.

    It gets them by subject, only the newest on each: for reports that may be lost.
    """

    def mark(function: Callable[..., None]) -> Callable[..., None]:
        function.reduces_all = report  # type: ignore[attr-defined]
        return function

    return mark


Judge = Callable[[Envelope, Report], None]
"""Whether the proved sender of a report may speak about its subject: raises Refused(forbidden), Refused(not_found) for what is over."""


@dataclass(frozen=True)
class RoleShape:
    """One role: its name, its boss, what it handles, what it reduces, and who may report what to it."""

    name: RoleName
    boss: RoleName | None
    handlers: dict[str, Handler[Any]] = field(default_factory=dict)
    reducers: dict[str, Callable[..., None]] = field(default_factory=dict)
    gatherers: dict[str, Callable[..., None]] = field(default_factory=dict)
    judge: Judge = lambda _envelope, _report: None

    @property
    def speaks(self) -> dict[str, int]:
        """Command kinds with the version understood."""
        return {kind: handler.command.v for kind, handler in self.handlers.items()}


def handlers_of(*modules: ModuleType) -> dict[str, Handler[Any]]:
    """The handlers defined in modules, by command kind. Two for one command are a Bug."""
    found: dict[str, Handler[Any]] = {}
    for module in modules:
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Handler) and "command" in vars(cls):
                kind = cls.command.kind
                if kind in found:
                    raise Bug(f"Two handlers for {kind}")
                found[kind] = cls()
    return found


def reducers_of(*modules: ModuleType) -> dict[str, Callable[..., None]]:
    """The reducers defined in modules, by report kind."""
    return {f.reduces.kind: f for m in modules for f in vars(m).values() if callable(f) and hasattr(f, "reduces")}


def gatherers_of(*modules: ModuleType) -> dict[str, Callable[..., None]]:
    """The reducers of many reports at once defined in modules, by report kind."""
    return {f.reduces_all.kind: f for m in modules for f in vars(m).values() if callable(f) and hasattr(f, "reduces_all")}


__all__ = [
    "PENDING", "Done", "Handler", "Job", "Outcome", "RoleShape", "gatherers_of", "handlers_of", "handles", "reducers_of", "reduces",
    "reduces_all",
]
