"""The consumer at each boss: verify, reduce if newer, pass up, then acknowledge; many reports at once where many came.

One by one or five hundred together, the same is done with each. What came together shares one look for certificates, one
transaction and one write to the board; a report that fails is taken alone again, so that it fails alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from luhyaapi import clock, log
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import REPORTS, HostFacts, HostsFacts, JoinAsked, MachineFacts, MachinesFacts, Outcome
from luhyaapi.errors import Refused, of
from luhyaapi.wire import signing

if TYPE_CHECKING:
    from luhyaapi.agent import Agent

_log = log.get(__name__)
ENDS_HERE = frozenset({Outcome.kind, JoinAsked.kind, MachineFacts.kind, MachinesFacts.kind})
"""Reports a boss answers itself: an Outcome ends the boss's own order, and it asked for the facts of machines itself."""
SUBJECTS_KEPT = 20_000
DURABLE_AT_ONCE = 100
"""Durable reports in one transaction: nobody else writes meanwhile."""


class Origin(NamedTuple):
    """A host below: the key its reports are signed with, and whose child it is."""

    key: Ed25519PublicKey
    boss: str


@dataclass(frozen=True)
class News:
    """A report that is proved to be its sender's; ``place``: where it stood among those that came with it."""

    place: int
    message: bytes
    envelope: Envelope
    report: Report


class Relay:
    """Judges reports from below."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._latest: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        self.heard: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, sender: str, message: bytes) -> None:
        """One report; raising means: not acknowledged, it comes again."""
        if (failed := self.take_many([(sender, message)])[0]) is not None:
            raise failed

    def take_many(self, batch: Sequence[tuple[str, bytes]]) -> list[Exception | None]:
        """Reports as the broker delivered them, in order; each ``sender`` is proved by the exchange it came through.

        Answers for each None, or what it failed at: that one must come again. What was None is durable. Raises
        Unavailable, Failed(disk_full) when they cannot be taken now: then all must come again, and count once.
        """
        try:
            with self._agent.memory():
                self._take(batch)
        except Exception as e:
            trouble = of(e)
            if trouble.family == "unavailable" or trouble.code == "disk_full":
                raise
            if len(batch) == 1:
                return [e]
            return [failed for one in batch for failed in self.take_many([one])]
        return [None] * len(batch)

    def _take(self, batch: Sequence[tuple[str, bytes]]) -> None:
        up: list[News] = []
        for group in _groups(self._open(batch)):
            try:
                up += self._taken(group)
            except Refused as e:
                if len(group) > 1:
                    raise
                self._refuse(group[0], e)
        if up:
            self._agent.pass_up([(n.envelope, n.message, n.report) for n in up])

    # ---- reading

    def _open(self, batch: Sequence[tuple[str, bytes]]) -> list[News]:
        """What can be believed and read; everything else is counted, logged and gone."""
        read: list[tuple[int, signing.Sealed]] = []
        for place, (_sender, message) in enumerate(batch):
            with _refusing():
                read.append((place, signing.read(message)))
        origins = self._agent.origins({sealed.envelope.sender for _, sealed in read})
        found = []
        for place, sealed in read:
            with _refusing():
                news = self._believed(place, batch[place], sealed, origins.get(sealed.envelope.sender))
                if news is not None:
                    found.append(news)
        return found

    def _believed(self, place: int, came: tuple[str, bytes], sealed: signing.Sealed, origin: Origin | None) -> News | None:
        sender, message = came
        envelope = signing.proved(sealed, origin.key if origin else None)
        if envelope.sender != sender and (origin is None or origin.boss != sender):
            raise Refused("misaddressed", "A report does not come from below its sender", f"{envelope.sender} by {sender}")
        if clock.now() > envelope.expires_at:
            raise Refused("expired", "A report came too late", f"{envelope.kind} of {envelope.sender}")
        kind = REPORTS.get(envelope.kind)
        if kind is None:
            _log.info("report of an unknown kind passed over", kind=envelope.kind)
            return None
        report = _read(kind, envelope)
        self.heard[sender] = self.heard[envelope.sender] = clock.now()
        return News(place, message, envelope, report)

    # ---- taking

    def _taken(self, group: list[News]) -> list[News]:
        """Judge and reduce, all or none; those that go up."""
        agent = self._agent
        refused: list[tuple[News, Refused]] = []
        with agent.memory():
            good: list[News] = []
            with agent.transaction() if any(n.report.durable for n in group) else contextlib.nullcontext():
                newest = _Newest(self._latest)
                for news in group:
                    try:
                        self._judge(news)
                    except Refused as e:
                        refused.append((news, e))
                        continue
                    applied = self._reduce(news.envelope, news.report, newest)
                    if applied or not isinstance(news.report, HostFacts):  # an old heartbeat must not be gathered over a new one
                        good.append(news)
                self._reduce_all(newest)
            self._remember(newest)
        for one, why in refused:
            self._refuse(one, why)
        return good if agent.boss else []

    def _judge(self, news: News) -> None:
        """Raises Refused unless the sender may say this; the signature proved who it is, not what it may speak about."""
        if news.envelope.subject != news.report.subject:
            raise Refused("invalid", "A report is numbered under another subject", news.envelope.subject)
        self._agent.shape.judge(news.envelope, news.report)

    @staticmethod
    def _refuse(news: News, error: Refused) -> None:
        # it would be refused again: what is refused is answered for
        if error.code == "not_found":
            _log.debug("report passed over", kind=news.envelope.kind, why=str(error))
        else:
            signing.refuse(error, news.envelope)

    def reduce(self, envelope: Envelope, report: Report) -> None:
        """Apply a report of our own, once, and only if it is newer than the last on its subject."""
        agent = self._agent
        with agent.memory():
            newest = _Newest(self._latest)
            with agent.transaction() if report.durable else contextlib.nullcontext():
                self._reduce(envelope, report, newest)
                self._reduce_all(newest)
            self._remember(newest)

    def _reduce(self, envelope: Envelope, report: Report, newest: _Newest) -> bool:
        """Apply it, or keep it to be applied with the others of its kind; whether it was newer."""
        agent = self._agent
        reducer = agent.shape.reducers.get(envelope.kind)
        is_gathered = isinstance(report, HostsFacts) or envelope.kind in agent.shape.gatherers
        if reducer is None and not is_gathered:
            return False
        if not (agent.is_fresh(envelope) if report.durable else newest.is_fresh(envelope)):
            return False
        if isinstance(report, HostsFacts):
            self._open_gathered(envelope, report, newest)
        elif reducer is None:
            newest.keep(report)
        else:
            with log.bound(task=envelope.task):
                reducer(agent.services, envelope, report)
        return True

    def _open_gathered(self, envelope: Envelope, report: HostsFacts, newest: _Newest) -> None:
        """The heartbeats a cluster answers for; those of hosts that are not its own are refused, and no others with them."""
        below = self._agent.below(envelope.sender, [facts.host for facts in report.hosts])
        now = clock.now()
        foreign = [facts.host for facts in report.hosts if facts.host not in below]
        if foreign:
            why = f"{envelope.sender} about {len(foreign)}, the first {foreign[0]}"
            signing.refuse(Refused("forbidden", "A cluster reports about hosts that are not below it", why), envelope)
        for facts in report.hosts:
            if facts.host in below:
                self.heard[facts.host] = now
                newest.keep(facts)

    def _reduce_all(self, newest: _Newest) -> None:
        for kind, reports in newest.kept.items():
            self._agent.shape.gatherers[kind](self._agent.services, reports)

    def _remember(self, newest: _Newest) -> None:
        """Only now: what was not applied shall be fresh when it comes again."""
        with self._lock:
            for key, number in newest.numbers.items():
                self._latest[key] = number
                self._latest.move_to_end(key)
            while len(self._latest) > SUBJECTS_KEPT:
                self._latest.popitem(last=False)

    def is_fresh(self, envelope: Envelope) -> bool:
        """Whether a report is newer than the last on its subject, kept in memory; and remember it."""
        newest = _Newest(self._latest)
        is_fresh = newest.is_fresh(envelope)
        self._remember(newest)
        return is_fresh


class _Newest:
    """The numbers and the gathered reports of one group, over what was known before it."""

    def __init__(self, before: OrderedDict[tuple[str, str], tuple[int, int]]) -> None:
        self._before = before
        self.numbers: dict[tuple[str, str], tuple[int, int]] = {}
        self.kept: dict[str, dict[str, Report]] = {}

    def is_fresh(self, envelope: Envelope) -> bool:
        key, number = (envelope.sender, envelope.subject), (envelope.epoch, envelope.seq)
        if (self.numbers.get(key) or self._before.get(key, (0, -1))) >= number:
            return False
        self.numbers[key] = number
        return True

    def keep(self, report: Report) -> None:
        """The last one on a subject stands, and stands last."""
        kept = self.kept.setdefault(report.kind, {})
        kept.pop(report.subject, None)
        kept[report.subject] = report


def gathered(reports: Collection[HostFacts], at_most: int) -> Iterator[HostsFacts]:
    """Heartbeats as reports of at most so many."""
    facts = list(reports)
    for n in range(0, len(facts), at_most):
        yield HostsFacts(hosts=tuple(facts[n:n + at_most]))


def _groups(news: list[News]) -> Iterator[list[News]]:
    """In order, cut so that no transaction takes too long."""
    group: list[News] = []
    durable = 0
    for one in news:
        group.append(one)
        durable += one.report.durable
        if durable >= DURABLE_AT_ONCE:
            yield group
            group, durable = [], 0
    if group:
        yield group


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Refused as e:
        signing.refuse(e)


def _read(kind: type[Report], envelope: Envelope) -> Report:
    try:
        return kind.model_validate_json(envelope.body)
    except ValueError as e:
        raise Refused("invalid", f"A report {envelope.kind} cannot be read", str(e)[:300]) from e
