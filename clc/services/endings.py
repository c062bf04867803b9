"""What ends is told in time, stopped, and deleted where its group says so; who is under a budget that is used up goes on for its grace.

In small numbers, each tried again later if it does not work. What nobody was told of in time ends only while it is at most a tenth of all that
runs, and never more than a tenth of all is deleted at once: then rather our clock is wrong, and an administrator decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from clc.services import budgets, events, expiry, expiry_rules, instances, tasks
from luhyaapi import clock, log
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Trouble
from luhyadb import memory, scope
from luhyadb.models import Account, Expiry, Instance

AT_ONCE = 50
AGAIN_S = 300.0
GRACE_S = 120
_TENTH = 10
_ON = (InstanceState.QUEUED, InstanceState.STARTING, InstanceState.RUNNING)
_OFF = (InstanceState.DEFINED, InstanceState.STOPPED, InstanceState.FAILED)
_log = log.get(__name__)


@dataclass(frozen=True)
class Held:
    """How many wait for an administrator's word: to be stopped, and to be deleted."""

    stops: int = 0
    deletes: int = 0

    def __bool__(self) -> bool:
        return bool(self.stops or self.deletes)


def tend(before: Held) -> Held:
    """Do what is due now; what waits for a word. ``before``: what did last time, for what is new is an event."""
    now = _tend_ends(before) if Expiry.objects.exists() else Held()
    _tend_budgets()
    return now


def _tend_ends(before: Held) -> Held:
    _warn()
    stops, deletes = _surprised(), _to_delete()
    now = _held(stops, deletes)
    if now and now != before:
        with memory.atomic():
            events.record("cloud", "expiry", "ends held", stops=now.stops, deletes=now.deletes)
        _log.warning("ends wait for an administrator", stops=now.stops, deletes=now.deletes)
    _stop(_due().exclude(pk__in=stops.values("pk")) if now.stops else _due())
    _note_ended()
    _delete(deletes.filter(let_go=True) if now.deletes else deletes)
    return now


def held() -> Held:
    """What waits for a word now."""
    return _held(_surprised(), _to_delete())


def _held(stops: QuerySet[Expiry], deletes: QuerySet[Expiry]) -> Held:
    return Held(_too_many(stops, Instance.objects.filter(state__in=_ON)),
                _too_many(deletes.filter(let_go=False), Instance.objects.exclude(state=InstanceState.DELETED)))


def let_go(by: Account) -> Held:
    """An administrator's word: all that waits ends, or is deleted. What waited. Raises Refused(forbidden)."""
    scope.require_admin(by)
    with memory.atomic():
        waited = held()
        for rows, is_held in ((_surprised(), waited.stops), (_to_delete(), waited.deletes)):
            if is_held:
                expiry.let_go(Expiry.objects.filter(pk__in=list(rows.values_list("pk", flat=True))))
        events.record("cloud", "expiry", "ends let go", stops=waited.stops, deletes=waited.deletes)
    return waited


def _too_many(rows: QuerySet[Expiry], of: QuerySet[Instance]) -> int:
    count = rows.count()
    return count if count > 1 and count > of.count() // _TENTH else 0


def _warn() -> None:
    rows = Expiry.objects.filter(warned_at=0, warn_at__lte=clock.now()).exclude(instance__state=InstanceState.DELETED).select_related("instance")
    for row in rows.order_by("warn_at", "pk")[:AT_ONCE]:
        with memory.atomic():
            expiry.warned(row)
            events.record("instance", row.pk, "instance expires soon", owner_id=row.instance.owner_id, expires_at=row.expires_at)


def _over() -> QuerySet[Expiry]:
    return Expiry.objects.filter(expires_at__lte=clock.now(), ended_at=0)


def _surprised() -> QuerySet[Expiry]:
    """Those that run, are over, and nobody was told of in time."""
    return _over().filter(Q(warned_at=0) | Q(late=True), let_go=False, instance__state__in=_ON)


def _due() -> QuerySet[Expiry]:
    return _over().exclude(warned_at=0, let_go=False).filter(instance__state__in=_ON)


def _stop(rows: QuerySet[Expiry]) -> None:
    # one tried at a moment that is still to come was so before our clock was set back
    now = clock.now()
    ready = rows.filter(Q(tried_at__lte=now - AGAIN_S) | Q(tried_at__gt=now))
    for row in ready.order_by("tried_at", "expires_at", "pk")[:AT_ONCE]:
        expiry.tried(row)
        _ask(row.pk, lambda ident: instances.stop(None, ident, GRACE_S))


def _note_ended() -> None:
    """What is over and does not run has ended, whoever stopped it."""
    for row in _over().filter(instance__state__in=_OFF).select_related("instance").order_by("expires_at", "pk")[:AT_ONCE]:
        with memory.atomic():
            expiry.ended(row)
            events.record("instance", row.pk, "instance expired", owner_id=row.instance.owner_id, expires_at=row.expires_at)


def _to_delete() -> QuerySet[Expiry]:
    """Those that ended and whose group says that they go, so long ago as it says."""
    ended = Expiry.objects.filter(ended_at__gt=0, instance__state__in=_OFF).exclude(instance__wanted=InstanceState.DELETED)
    gone = Q(pk__in=[])
    for group in ended.order_by().values_list("instance__group", flat=True).distinct():
        if after := expiry_rules.binding(group).delete_after_s:
            gone |= Q(instance__group=group, ended_at__lte=clock.now() - after)
    return ended.filter(gone)


def _delete(rows: QuerySet[Expiry]) -> None:
    now = clock.now()
    ready = rows.filter(Q(tried_at__lte=now - AGAIN_S) | Q(tried_at__gt=now)).select_related("instance")
    for row in ready.order_by("tried_at", "pk")[:AT_ONCE]:
        if not tasks.is_open(row.instance.task):
            expiry.tried(row)
            _ask(row.pk, lambda ident: instances.delete(None, ident))


def _ask(ident: str, ask: Callable[[str], object]) -> bool:
    try:
        ask(ident)
    except Trouble as e:
        # one that cannot end now holds up nobody else
        _log.warning("an end cannot be carried out", instance=ident, why=str(e))
        return False
    return True


def _tend_budgets() -> None:
    for each in budgets.standings(budgets.current()):
        row = each.budget
        with memory.atomic():
            if news := budgets.note(each):
                noun, subject = ("user", str(row.account_id)) if row.account_id else ("group", row.group_id)
                what = "budget spent" if news == "spent" else "budget near"
                events.record(noun, subject, what, owner_id=row.account_id, name=each.of, counted=row.counted, used=round(each.used, 1),
                              hours=int(row.hours))
        if 0 < budgets.grace_over(row) <= clock.now():
            _stop_under(budgets.under(row).filter(state__in=_ON).order_by("changed_at", "pk"))


def _stop_under(rows: Iterable[Instance]) -> None:
    stopped = 0
    for row in rows:
        stopped += _ask(row.pk, lambda ident: instances.stop(None, ident, GRACE_S))
        if stopped >= AT_ONCE:
            return
