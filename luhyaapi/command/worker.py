"""What becomes of an order at its receiver: verify, journal, then check, run, undo in lanes; one at a time per subject."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from luhyaapi import clock, ids, log
from luhyaapi.contracts.base import Command, Envelope
from luhyaapi.contracts.commands import COMMANDS, TaskCancel
from luhyaapi.contracts.reports import Outcome, Progress
from luhyaapi.contracts.specs import Fault
from luhyaapi.contracts.vocabulary import Lane
from luhyaapi.errors import Refused, Trouble, Unavailable, of
from luhyaapi.journal import ACCEPTED, DONE, Row
from luhyaapi.role import Done, Handler
from luhyaapi.wire import signing, topology

if TYPE_CHECKING:
    from luhyaapi.agent import Agent

_log = log.get(__name__)
WIDTH = {Lane.TRANSFER: 3, Lane.BOOT: 16, Lane.STOP: 64, Lane.DOMAIN: 4, Lane.QUICK: 4}
"""So many at once in each lane; a stop hardly does more than wait for its guest."""
_ASK_THE_LOG = "the log of that host tells more"
_BACKOFF_S = (0.2, 0.5, 1, 2, 5, 10)


class RunningJob:
    """One order being carried out."""

    def __init__(self, agent: Agent, row: Row, stopping: Callable[[], bool]) -> None:
        self.id = row.id
        self.task = row.task
        self.envelope = row.envelope
        self.services = agent.services
        self._agent = agent
        self._stopping = stopping
        self._told_at = -1.0
        self._is_sure = "#undo-" in row.id or "#sure-" in row.id

    def is_buried(self) -> bool:
        """Whether its task was cancelled. That refuses neither taking back, nor what follows a step that nothing takes back."""
        return not self._is_sure and self._agent.journal.is_buried(self.task)

    def begin(self, handler: Handler[Any], command: Command) -> None:
        """Raises what :meth:`checkpoint` raises, unless a cancel of its task came too late."""
        self._is_sure = self._is_sure or (self.is_buried() and handler.is_past_cancelling(self, command))
        self.checkpoint()

    def cancelled(self) -> bool:
        return self._stopping() or self.is_buried()

    def checkpoint(self) -> None:
        if self.is_buried():
            raise Refused("cancelled", "It was cancelled")
        if self._stopping():
            raise Unavailable("interrupted", "The role is stopping")

    def progress(self, phase: str, done: int, total: int, prompt: str = "") -> None:
        """At most twice a second, and always at the end."""
        now = clock.monotonic()
        if now - self._told_at < 0.5 and done < total:
            return
        self._told_at = now
        percent = min(100, done * 100 // total) if total else 0
        self._agent.report(
            Progress(command=self.id, task=self.task, phase=phase, percent=percent, bytes_done=done, bytes_total=total,
                     prompt=prompt),
            task=self.task,
        )


class Worker:
    """Accepts orders into the journal and carries them out."""

    def __init__(self, agent: Agent, *, inline: bool = False) -> None:
        self._agent = agent
        self._inline = inline
        self._busy: dict[str, str] = {}
        self._load: dict[str, int] = dict.fromkeys(Lane, 0)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pool = None if inline else ThreadPoolExecutor(sum(WIDTH.values()), thread_name_prefix="lane")

    def accept(self, message: bytes) -> None:
        """Called by the transport; returns once the order is durable or refused. Raises only if the journal cannot write."""
        agent = self._agent
        try:
            envelope = signing.open_sealed(message, agent.boss_key)
            signing.check_address(envelope, agent.me, agent.boss)
        except Refused:
            return
        self.take(envelope)

    def take(self, envelope: Envelope) -> None:
        """Journal an order that was verified, or that this role gives to itself."""
        agent = self._agent
        kind = COMMANDS.get(envelope.kind)
        lane = kind.lane if kind else Lane.QUICK
        known = agent.journal.accept(envelope, lane)
        if known is not None:
            if known.state == DONE:
                self._say(known.envelope, Outcome.model_validate_json(known.outcome))
            return
        _log.info("order accepted", task=envelope.task, cmd=envelope.id, kind=envelope.kind)
        agent.wake_worker()

    def step(self) -> int:
        """Begin every order that is due and whose subject and lane are free; how many began."""
        begun = 0
        if self._stop.is_set():
            return begun
        now = clock.now()
        for row in self._agent.journal.open_rows():
            # due later than anything is put off: our clock was set back
            if now < row.due <= now + _BACKOFF_S[-1] or not self._claim(row):
                continue
            begun += 1
            if self._pool is None:
                self._carry_out(row)
            else:
                self._pool.submit(self._carry_out, row)
        return begun

    def hurry(self, subject: str = "") -> None:
        """What orders on a subject waited for is there, or what any did: they are tried again at once."""
        self._agent.journal.hasten(subject)
        self._agent.wake_worker()

    def stop(self) -> None:
        """Let handlers reach their next checkpoint; what is open is resumed at the next start."""
        self._stop.set()
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _claim(self, row: Row) -> bool:
        subject = row.id if topology.is_control(row.kind) else row.subject or row.id
        with self._lock:
            if row.id in self._busy or subject in self._busy.values() or self._load[row.lane] >= WIDTH[Lane(row.lane)]:
                return False
            self._busy[row.id] = subject
            self._load[row.lane] += 1
            return True

    def _carry_out(self, row: Row) -> None:
        with log.bound(task=row.task, cmd=row.id):
            try:
                with self._agent.memory():
                    self._do(row)
            except Exception:
                _log.exception("order could not be carried out", kind=row.kind)
                self._agent.journal.postpone(row.id, clock.now() + _BACKOFF_S[-1])
            finally:
                with self._lock:
                    self._busy.pop(row.id, None)
                    self._load[row.lane] -= 1
        self._agent.wake_worker()

    def _do(self, row: Row) -> None:
        agent = self._agent
        fresh = agent.journal.row(row.id)
        # Between the list it stood in and this thread it may have ended.
        if fresh is None or fresh.state != ACCEPTED:
            return
        row = fresh
        job = RunningJob(agent, row, self._stop.is_set)
        handler = agent.shape.handlers.get(row.kind)
        command: Command | None = None
        try:
            if handler is None:
                raise Refused("unsupported", f"A {agent.shape.name} does not know {row.kind}")
            command = _decode(row)
            if not isinstance(command, TaskCancel):
                job.begin(handler, command)
            if clock.now() > row.envelope.deadline:
                raise Unavailable("timeout", "Its deadline passed before it could be done")
            if isinstance(command, TaskCancel):
                agent.journal.bury(command.target)
            if row.attempts == 0:
                handler.check(job, command)
            done = handler.run(job, command) or Done()
        except Exception as error:
            self._fall(row, job, handler, command, of(error), error)
        else:
            if done.pending:
                agent.journal.pend(row.id)
            else:
                self.end(row.envelope, None, done.facts)

    def _fall(self, row: Row, job: RunningJob, handler: Any, command: Command | None, trouble: Trouble, error: Exception) -> None:
        later = clock.now() + _BACKOFF_S[min(row.attempts, len(_BACKOFF_S) - 1)]
        # A driver that was told to stop says cancelled, also when nobody cancelled and only the role stops.
        interrupted = trouble.code == "interrupted" or (trouble.code == "cancelled" and not job.is_buried())
        again = trouble.family == "unavailable" or (trouble.family == "failed" and handler is not None and row.attempts + 1 < handler.tries)
        if interrupted or (again and later < row.envelope.deadline):
            _log.info("order waits", code=trouble.code, why=trouble.why, attempts=row.attempts)
            if not interrupted:
                step = ids.step_of(row.id)
                job.progress("" if step == "0" else step, 0, 0, str(trouble)[:200])
            self._agent.journal.postpone(row.id, later)
            return
        if trouble.code == "bug":
            _log.error("fault of ours", why=str(error), exc_info=error)
        if handler is not None and command is not None:
            try:
                handler.undo(job, command)
            except Exception as second:
                _log.warning("undo failed", code=of(second).code, why=str(second))
        self.end(row.envelope, trouble, {})

    def end(self, envelope: Envelope, error: Trouble | None, facts: dict[str, Any]) -> None:
        """Keep and tell how an order ended. Also called by a flow for the order that opened it."""
        agent = self._agent
        fault = _fault(error) if error else None
        outcome = Outcome(command=envelope.id, task=envelope.task, error=fault, **facts)
        text = outcome.model_dump_json()
        if envelope.sender == agent.me:
            if agent.journal.end(envelope.id, text):
                self._say(envelope, outcome)
            return
        message = agent.seal_report(outcome, envelope.task)
        if agent.journal.end(envelope.id, text, (outcome.subject, message)):
            _log.info("order ended", kind=envelope.kind, code=fault.code if fault else "done")
            agent.wake_publisher()

    def _say(self, envelope: Envelope, outcome: Outcome) -> None:
        if envelope.sender == self._agent.me:
            self._agent.reduce_own(outcome, envelope.task)
        else:
            self._agent.report(outcome, task=envelope.task)


def _fault(error: Trouble) -> Fault:
    """An error as others may read it: of a bug only that it was one, the rest stands in our log."""
    return Fault(**error.wire() | ({"why": _ASK_THE_LOG} if error.family == "bug" else {}))


def _decode(row: Row) -> Command:
    try:
        return COMMANDS[row.kind].model_validate_json(row.envelope.body)
    except ValueError as e:
        raise Refused("invalid", f"The order {row.kind} cannot be read", str(e)) from e
