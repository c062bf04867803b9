"""The consumer at each boss: verify, reduce if newer, pass up, then acknowledge."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from luhyaapi import clock, log
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import REPORTS, JoinAsked, Outcome
from luhyaapi.errors import Refused
from luhyaapi.wire import signing

if TYPE_CHECKING:
    from luhyaapi.agent import Agent

_log = log.get(__name__)
ENDS_HERE = frozenset({Outcome.kind, JoinAsked.kind})
"""Reports a boss answers itself: an Outcome ends the boss's own order."""
SUBJECTS_KEPT = 20_000


class Relay:
    """Judges reports from below. Raising from ``take`` means: not acknowledged, it comes again."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._latest: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        self.heard: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, sender: str, message: bytes) -> None:
        """One report as the broker delivered it; ``sender`` is proved by the exchange it came through."""
        agent = self._agent
        try:
            envelope = signing.open_sealed(message, agent.report_key)
            if envelope.sender != sender and not agent.is_below(envelope.sender, sender):
                raise Refused("misaddressed", "A report does not come from below its sender", f"{envelope.sender} by {sender}")
            if clock.now() > envelope.expires_at:
                raise Refused("expired", "A report came too late", f"{envelope.kind} of {envelope.sender}")
            kind = REPORTS.get(envelope.kind)
            if kind is None:
                _log.info("report of an unknown kind passed over", kind=envelope.kind)
                return
            report = _read(kind, envelope)
        except Refused as e:
            if e.code in ("misaddressed", "expired"):
                signing.refuse(e)
            return
        self.heard[sender] = self.heard[envelope.sender] = clock.now()
        try:
            self._judge(envelope, report)
            self.reduce(envelope, report)
        except Refused as e:
            # it would be refused again: what is refused is answered for
            if e.code == "not_found":
                _log.debug("report passed over", kind=envelope.kind, why=str(e))
            else:
                signing.refuse(e, envelope)
            return
        if agent.boss and envelope.kind not in ENDS_HERE:
            agent.pass_up(envelope, message, durable=kind.durable)

    def _judge(self, envelope: Envelope, report: Report) -> None:
        """Raises Refused unless the sender may say this; the signature proved who it is, not what it may speak about."""
        if envelope.subject != report.subject:
            raise Refused("invalid", "A report is numbered under another subject", envelope.subject)
        with self._agent.memory():
            self._agent.shape.judge(envelope, report)

    def reduce(self, envelope: Envelope, report: Report) -> None:
        """Apply a report once, and only if it is newer than the last on its subject."""
        agent = self._agent
        reducer = agent.shape.reducers.get(envelope.kind)
        if reducer is None:
            return
        with log.bound(task=envelope.task), agent.memory():
            if report.durable:
                with agent.transaction():
                    if agent.is_fresh(envelope):
                        reducer(agent.services, envelope, report)
            elif self._is_fresh(envelope):
                reducer(agent.services, envelope, report)

    def _is_fresh(self, envelope: Envelope) -> bool:
        with self._lock:
            key = envelope.sender, envelope.subject
            if self._latest.get(key, (0, -1)) >= (envelope.epoch, envelope.seq):
                return False
            self._latest[key] = envelope.epoch, envelope.seq
            self._latest.move_to_end(key)
            if len(self._latest) > SUBJECTS_KEPT:
                self._latest.popitem(last=False)
            return True


def _read(kind: type[Report], envelope: Envelope) -> Report:
    try:
        return kind.model_validate_json(envelope.body)
    except ValueError as e:
        error = Refused("invalid", f"A report {envelope.kind} cannot be read", str(e)[:300])
        signing.refuse(error, envelope)
        raise error from e
