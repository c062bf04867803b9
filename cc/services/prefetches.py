"""Prefetches: an image is brought into the cluster's cache, then to several nodes at a time, before anybody needs it.

Each host has a row of its own: one that cannot have it fails alone. The order that began it stays pending in the journal until
every row has ended; :func:`go` moves whatever can move now, and again after a crash anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from cc.services import children, library
from cc.services.office import Office
from luhyaapi import clock
from luhyaapi.command.send import compose, stamp
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.commands import ImageFetch, ImagePrefetch, TaskCancel
from luhyaapi.contracts.reports import Outcome, TaskSteps
from luhyaapi.contracts.specs import StepFacts
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable, from_wire
from luhyaapi.journal import DONE as OVER
from luhyaapi.journal import PENDING
from luhyadb import memory, outbox
from luhyadb.models import Child, Prefetch

AT_ONCE = 32
"""Nodes that fetch at the same time."""
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
_ENDED = (DONE, FAILED)
_GIVE_UP_S = 120.0
_NAMED = 20


def begin(office: Office, envelope: Envelope, order: ImagePrefetch) -> None:
    """Begin what an order wants; again it is begun already."""
    with memory.atomic():
        for host in (office.agent.me, *order.nodes):
            Prefetch.objects.get_or_create(command=envelope.id, host=host, defaults={"task": envelope.task})
    go(office, envelope)


def go(office: Office, envelope: Envelope) -> None:
    """Move every host as far as it goes now, in one transaction."""
    order = ImagePrefetch.model_validate_json(envelope.body)
    with memory.atomic():
        rows = list(Prefetch.objects.select_for_update().filter(command=envelope.id).order_by("pk"))
        if not rows:
            return
        before = [_look(row) for row in rows]
        _Round(office, envelope, order, rows).run()
        for row, was in zip(rows, before, strict=True):
            if _look(row) != was:
                row.save()
        is_over = all(row.state in _ENDED for row in rows)
        if is_over or before != [_look(row) for row in rows]:
            _report(office, rows)
        if is_over:
            memory.on_commit(lambda: _end(office, envelope, rows))


class _Round:
    """One look at all hosts of a prefetch."""

    def __init__(self, office: Office, envelope: Envelope, order: ImagePrefetch, rows: Sequence[Prefetch]) -> None:
        self._office, self._envelope, self._order = office, envelope, order
        me = office.agent.me
        self._own = next(row for row in rows if row.host == me)
        self._nodes = [row for row in rows if row.host != me]
        self._known = Child.objects.in_bulk([row.host for row in self._nodes])
        self._is_cancelled = office.agent.journal.is_buried(envelope.task)

    def run(self) -> None:
        """Give up what has no hope, say again what may be lost, begin what may begin."""
        for row in (self._own, *self._nodes):
            if row.state in _ENDED:
                continue
            if trouble := self._hopeless(row):
                _fail(row, trouble)
            elif row.state == RUNNING and self._is_away(row):
                # no order of before counts any more: who is back is asked anew
                row.state, row.attempt, row.note = WAITING, row.attempt + 1, "it does not answer"
            elif row.state == RUNNING and not self._is_cancelled and self._may_be_lost(row):
                self._say(row)
        if self._own.state == WAITING:
            self._say(self._own)
        elif self._own.state == DONE or library.comes(self._office, self._order.ref):
            free = AT_ONCE - sum(row.state == RUNNING for row in self._nodes)
            ready = [row for row in self._nodes if row.state == WAITING and not self._is_away(row)]
            for row in ready[: max(free, 0)]:
                self._say(row)

    def _hopeless(self, row: Prefetch) -> Trouble | None:
        now = clock.now()
        if self._is_cancelled and (row.state == WAITING or now - row.said_at > _GIVE_UP_S):
            return Refused("cancelled", "It was cancelled")
        if now > self._envelope.deadline:
            return Failed("timeout", "It was not there before the deadline")
        return None if row is self._own else self._hopeless_node(row)

    def _hopeless_node(self, row: Prefetch) -> Trouble | None:
        if self._own.state == FAILED:
            return from_wire(self._own.error)
        if row.host not in self._known:
            return Refused("not_found", "The cluster has no such node", "it was removed")
        if clock.now() >= self._order.by and self._is_away(row):
            return Unavailable("host_silent", "The node does not answer")
        return None

    def _is_away(self, row: Prefetch) -> bool:
        child = self._known.get(row.host)
        return child is not None and children.is_silent(self._office, child)

    def _may_be_lost(self, row: Prefetch) -> bool:
        agent = self._office.agent
        if row is self._own and agent.journal.row(row.order) is None:
            return True  # a crash came between its row and our journal
        return abs(clock.now() - row.said_at) > 1.5 * agent.settings.beat.queue_patience_s and not outbox.is_waiting(row.order)

    def _say(self, row: Prefetch) -> None:
        agent, order = self._office.agent, self._order
        is_new = row.state == WAITING
        row.state, row.said_at, row.note = RUNNING, clock.now(), ""
        row.began_at = row.said_at if is_new else row.began_at
        if row is self._own:
            fetch = ImageFetch(image=order.image, ref=order.ref, url=order.url, ticket=order.ticket, keep_until=order.keep_until)
            said = compose(fetch, agent.me, sender=agent.me, task=row.task, step=row.host, attempt=row.attempt, deadline=self._envelope.deadline)
            memory.on_commit(lambda: agent.worker.take(stamp(said, agent.me, fetch.timeout_s)))
        else:
            fetch = library.order_for(self._office, order.ref, row.host, order.keep_until)
            deadline = min(self._envelope.deadline, clock.now() + fetch.timeout_s)
            said = outbox.send(fetch, row.host, sender=agent.me, task=row.task, step=row.host, attempt=row.attempt, deadline=deadline)
        row.order = said.id


def awaited(office: Office) -> set[str]:
    """The files that prefetches still bring to this cluster's cache."""
    mine = Prefetch.objects.filter(host=office.agent.me).exclude(state__in=_ENDED).values_list("command", flat=True)
    open_rows = filter(None, map(office.agent.journal.row, mine))
    return {blob.sha256 for row in open_rows for blob in ImagePrefetch.model_validate_json(row.envelope.body).ref.blobs}


def ended(office: Office, report: Outcome) -> bool:
    """An Outcome of a host; false when it is of no prefetch."""
    row = Prefetch.objects.select_for_update().filter(order=report.command).exclude(state__in=_ENDED).first()
    if row is None:
        return False
    if report.error is None:
        row.state, row.note, row.ended_at = DONE, "", clock.now()
    else:
        _fail(row, from_wire(report.error.model_dump()))
    row.save()
    _report(office, list(Prefetch.objects.filter(command=row.command).order_by("pk")))
    memory.on_commit(lambda: _go_on(office, row.command))
    return True


def cancel(office: Office, task: str) -> None:
    """End the prefetches of a task: who fetches is told to stop, who waits never begins."""
    agent = office.agent
    for row in Prefetch.objects.select_for_update().filter(task=task, state=RUNNING).exclude(host=agent.me):
        outbox.send(TaskCancel(target=task), row.host, sender=agent.me, task=task, step=f"cancel-{row.host}")
        row.said_at = clock.now()
        row.save()
    for command in set(Prefetch.objects.filter(task=task).values_list("command", flat=True)):
        memory.on_commit(lambda command=command: _go_on(office, command))


def look_after(office: Office) -> int:
    """Move every open prefetch; what a crash left half begun or half ended goes on from here; how many."""
    journal = office.agent.journal
    mine = [row.envelope for row in journal.open_rows(PENDING) if row.kind == ImagePrefetch.kind]
    for envelope in mine:
        if Prefetch.objects.filter(command=envelope.id).exists():
            go(office, envelope)
        else:
            journal.forget(envelope.id)  # our database is older than our journal: it is said again
    for command in set(Prefetch.objects.exclude(command__in=[e.id for e in mine]).values_list("command", flat=True)):
        if (row := journal.row(command)) is None or row.state == OVER:
            Prefetch.objects.filter(command=command).delete()
    return len(mine)


def _go_on(office: Office, command: str) -> None:
    row = office.agent.journal.row(command)
    if row is not None:
        go(office, row.envelope)


def _fail(row: Prefetch, trouble: Trouble) -> None:
    row.state, row.error, row.ended_at = FAILED, trouble.wire(), clock.now()
    row.note = str(trouble)[:2000]


def _look(row: Prefetch) -> tuple[object, ...]:
    return row.state, row.attempt, row.order, row.said_at, row.note


def _report(office: Office, rows: Sequence[Prefetch]) -> None:
    """Tell the CLC how every host stands."""
    steps = tuple(
        StepFacts(step=row.host, state=row.state, host=row.host, started_at=row.began_at, ended_at=row.ended_at, note=row.note) for row in rows
    )
    memory.on_commit(lambda: office.agent.report(TaskSteps(task=rows[0].task, steps=steps), rows[0].task))


def _end(office: Office, envelope: Envelope, rows: Sequence[Prefetch]) -> None:
    """The one Outcome of the CLC's order."""
    office.agent.worker.end(envelope, _together(rows), {})
    Prefetch.objects.filter(command=envelope.id).delete()


def _together(rows: Sequence[Prefetch]) -> Trouble | None:
    lacking = [row for row in rows if row.state == FAILED]
    if not lacking:
        return None
    first = from_wire(lacking[0].error)
    if all(row.error == lacking[0].error for row in lacking) and first.code == "cancelled":
        return first
    named = [f"{row.host} {row.note}" for row in lacking[:_NAMED]]
    more = [f"and {len(lacking) - _NAMED} more"] if len(lacking) > _NAMED else []
    return from_wire({**first.wire(), "what": "The image is not on every host", "why": "; ".join([*named, *more])})
