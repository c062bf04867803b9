"""The loop every host runs: hello, beat, reconcile, carry out orders, publish reports, stop cleanly."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from luhyaapi import clock, log, points
from luhyaapi.command.worker import Worker
from luhyaapi.conf import Settings
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import HostFacts
from luhyaapi.errors import Unavailable
from luhyaapi.journal import Journal
from luhyaapi.process import Loop
from luhyaapi.role import RoleShape
from luhyaapi.status.relay import ENDS_HERE, Origin, Relay, gathered
from luhyaapi.wire.identity import Membership, public_key
from luhyaapi.wire.link import Dead, DownLink, UpLink
from luhyaapi.wire.signing import seal

_log = log.get(__name__)
_REPORT_LIFE_S = 30 * 86400.0
_RECONCILE_ENDS_IN_S = 1.0
HOSTS_AT_ONCE = 200
"""Heartbeats in one report: it stays far below the largest message, also when each host lists a hundred files."""


class Agent:
    """One running role. Roles that remember override the hooks marked so (see ``luhyadb.memory``)."""

    def __init__(
        self, shape: RoleShape, settings: Settings, membership: Membership, key: Ed25519PrivateKey,
        *, up: UpLink | None = None, down: DownLink | None = None, inline: bool = False,
    ) -> None:
        self.shape = shape
        self.settings = settings
        self.membership = membership
        self.me = membership.host
        self.boss = membership.boss
        self.key = key
        self.up = up
        self.down = down
        self.services: Any = None
        self.identity = settings.host.identity
        self.journal = Journal(settings.host.state / "journal.sqlite")
        self.epoch = self.journal.next_epoch()
        self.started_at = clock.now()
        self._seq = 0
        self._seq_lock = threading.Lock()
        self._boss_key = public_key(membership.boss_certificate, membership.authority) if membership.boss else None
        self.relay = Relay(self)
        self.worker = Worker(self, inline=inline)
        self.beat: Callable[[], None] = lambda: None
        self.hello: Callable[[], None] = lambda: None
        self.reconcile: Callable[[], None] = lambda: None
        self.loops: list[Loop] = []
        self._gathered: dict[str, HostFacts] = {}
        self._gathered_at = -self.settings.beat.gather_s
        self._awaited: set[str] = set()
        self._gathering: Loop | None = None
        self._working: Loop | None = None
        self._publishing: Loop | None = None

    # ---- hooks of roles that remember

    @contextlib.contextmanager
    def memory(self) -> Iterator[None]:
        """Surrounds every piece of work; a role with a database opens it here."""
        yield

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, where there is a database."""
        return contextlib.nullcontext()

    def is_fresh(self, envelope: Envelope) -> bool:
        """Whether a durable report is newer than the last on its subject, and remember it."""
        return self.relay.is_fresh(envelope)

    def origins(self, _hosts: Collection[str]) -> dict[str, Origin]:
        """Those of the hosts that are below us, with one look."""
        return {}

    def below(self, _boss: str, _hosts: Collection[str]) -> set[str]:
        """Those of the hosts that are below a child of ours, with one look."""
        return set()

    def listening_since(self) -> float | None:
        """Since when reports could reach us without a break; None: they cannot now, and nobody is silent."""
        since = self.down.listening_since() if self.down else None
        return None if since is None else max(since, self.started_at)

    # ---- up

    def unconnected(self) -> list[str]:
        """Why the boss is not reached now, at most one sentence; none when it is."""
        why = self.up.trouble() if self.up else "it has no way there"
        return [f"not connected to the {(self.shape.boss or '').upper()}: {why}"] if why else []

    def boss_key(self, sender: str) -> Ed25519PublicKey | None:
        """The key that orders must be signed with."""
        return self._boss_key if sender == self.boss else None

    def envelope(self, report: Report, task: str = "") -> Envelope:
        """A numbered envelope for a fact of ours."""
        with self._seq_lock:
            self._seq += 1
            seq = self._seq
        now = clock.now()
        return Envelope(
            id=f"{self.me}:{self.epoch}:{seq}", task=task, kind=report.kind, v=report.v, sender=self.me,
            to=self.boss or self.me, subject=report.subject, issued_at=now, expires_at=now + _REPORT_LIFE_S,
            deadline=now + _REPORT_LIFE_S, epoch=self.epoch, seq=seq, body=report.model_dump_json(),
        )

    def seal_report(self, report: Report, task: str = "") -> bytes:
        """A fact, numbered and signed."""
        return seal(self.envelope(report, task), self.key)

    def report(self, report: Report, task: str = "") -> None:
        """The one way up. Durable facts are kept until the boss's broker has them; others may be lost."""
        if not self.boss:
            self.reduce_own(report, task)
        elif report.durable:
            self.journal.put_report(report.subject, self.seal_report(report, task))
            self.wake_publisher()
        else:
            self._post_transient(self.seal_report(report, task))

    def reduce_own(self, report: Report, task: str = "") -> None:
        """A fact about our own work, which we are the boss of."""
        self.relay.reduce(self.envelope(report, task), report)

    def pass_up(self, news: Sequence[tuple[Envelope, bytes, Report]]) -> None:
        """Facts from below, unchanged; only heartbeats are gathered into reports of our own."""
        told = [n for n in news if n[0].kind not in ENDS_HERE]
        durable = [(envelope.subject, message) for envelope, message, report in told if report.durable]
        if durable:
            self.journal.put_reports(durable)
            self.wake_publisher()
        beats = []
        for _, message, report in told:
            if isinstance(report, HostFacts):
                beats.append(report)
            elif not report.durable:
                self._post_transient(message)
        with self._seq_lock:
            self._gathered.update((facts.host, facts) for facts in beats)
            came = {facts.host for facts in beats} & self._awaited
            self._awaited -= came
        if beats and self._gathering is None:
            self.pass_up_gathered()
        elif came or (beats and clock.monotonic() - self._gathered_at >= self.settings.beat.gather_s):
            self._gathering.wake()  # type: ignore[union-attr]

    def awaits(self, host: str) -> None:
        """Somebody asked this host for its facts: they are passed up as they come."""
        with self._seq_lock:
            self._awaited.add(host)

    def pass_up_gathered(self) -> None:
        """The heartbeats that came since the last time."""
        with self._seq_lock:
            found, self._gathered = self._gathered, {}
        if found:
            self._gathered_at = clock.monotonic()
        for report in gathered(found.values(), HOSTS_AT_ONCE):
            self.report(report)

    def _post_transient(self, message: bytes) -> None:
        if self.up is not None and self.up.is_connected():
            with contextlib.suppress(Unavailable):
                self.up.report(message, durable=False)

    def publish(self) -> int:
        """Post kept reports in order until none is left or the broker does not answer; how many."""
        if self.up is None:
            return 0
        posted = 0
        while rows := self.journal.reports():
            sent: list[int] = []
            try:
                for n, message in rows:
                    points.at("report: before post")
                    self.up.report(message, durable=True)
                    points.at("report: confirmed")
                    sent.append(n)
            except Unavailable as e:
                _log.debug("reports wait", why=e.why)
                return posted + len(sent)
            finally:
                self.journal.report_confirmed(sent)
            posted += len(sent)
        return posted

    # ---- life

    def start(self) -> None:
        """Begin all loops; returns at once."""
        every = self.settings.beat
        self._working = Loop("worker", self.worker.step, 1.0).start()
        self._publishing = Loop("publisher", self.publish, 1.0).start()
        self.loops += [
            self._working, self._publishing,
            Loop("beat", self._in_memory("beat"), every.every_s).start(),
            Loop("reconcile", self._in_memory("reconcile"), every.reconcile_s).start(),
            Loop("sweep", self.sweep, 3600).start(),
        ]
        if self.down is not None and self.boss:
            self._gathering = Loop("gather", self.pass_up_gathered, every.gather_s).start()
            self.loops.append(self._gathering)
        if self.down is not None:
            self.down.start(self.relay.take_many, self.keep_dead)
        if self.up is not None:
            self.up.start(self.worker.accept, self._greet)
        else:
            self._greet()

    def keep_dead(self, _dead: Dead) -> None:
        """A message died in our broker. Roles that remember keep it."""

    def sweep(self) -> None:
        """Forget what nobody can ask about any more."""
        self.journal.sweep()

    def stop(self) -> None:
        """Stop taking orders, let running ones reach a checkpoint, publish what there is."""
        # first: what ends together with this machine has not gone wrong
        for loop in self.loops:
            if loop.name == "reconcile":
                loop.stop(_RECONCILE_ENDS_IN_S)
        for link in (self.up, self.down):
            if link is not None:
                link.stop()
        self.worker.stop()
        for loop in self.loops:
            loop.stop()
        self.loops.clear()

    def wake_worker(self) -> None:
        """An order may be due."""
        if self._working:
            self._working.wake()

    def wake_publisher(self) -> None:
        """A report waits."""
        if self._publishing:
            self._publishing.wake()

    def _greet(self) -> None:
        with self.memory():
            self.hello()
            self.beat()

    def _in_memory(self, name: str) -> Callable[[], None]:
        def step() -> None:
            with self.memory():
                getattr(self, name)()

        return step
