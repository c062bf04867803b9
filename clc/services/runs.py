"""When machines ran: from each move of an instance's state, in its transaction. The one place hours are counted from: the only writer of Run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Case, F, FloatField, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Greatest, Least

from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Budgeted, InstanceState
from luhyadb.models import Instance, Run

HOUR_S = 3600.0
_OVER = (InstanceState.STOPPED, InstanceState.FAILED, InstanceState.DELETED)


def follow(row: Instance, new: str) -> None:
    """An instance went to another state.

    While its node is not heard of nothing is counted: seen to run again, it ran all the time; else until it was heard of last.
    """
    open_ = Run.objects.filter(instance=row, ended_at=0)
    if new == InstanceState.RUNNING:
        if not open_.update(unknown_at=0):
            Run.objects.create(instance=row, owner_id=row.owner_id, group_id=row.group_id, cpus=row.cpus, memory_mib=row.memory_mib, began_at=clock.now())
    elif new == InstanceState.UNKNOWN:
        open_.filter(unknown_at=0).update(unknown_at=clock.now())
    elif new in _OVER:
        open_.update(ended_at=Case(When(unknown_at__gt=0, then=F("unknown_at")), default=Value(clock.now()), output_field=FloatField()))


def between(rows: QuerySet[Run], since: float, until: float) -> QuerySet[Run]:
    """Those of some runs that were at some moment of a time, each with its ``length`` within it in seconds."""
    end = Case(When(ended_at__gt=0, then=F("ended_at")), When(unknown_at__gt=0, then=F("unknown_at")), default=Value(clock.now()), output_field=FloatField())
    length = Greatest(Least(end, Value(until), output_field=FloatField()) - Greatest(F("began_at"), Value(since), output_field=FloatField()),
                      Value(0.0), output_field=FloatField())
    return rows.filter(began_at__lt=until).filter(Q(ended_at=0) | Q(ended_at__gt=since)).annotate(length=length)


def hours(since: float, until: float, *, groups: Iterable[str] = (), people: Iterable[int] = ()) -> dict[Any, dict[Budgeted, float]]:
    """The hours of all that belongs to each of some groups or below it, and of each of some people, within a time: one question for each kind."""
    found: dict[Any, dict[Budgeted, float]] = {}
    for of, by in ((list(groups), "group__above_it__above"), (list(people), "owner")):
        if not of:
            continue
        rows = between(Run.objects.filter(**{f"{by}__in": of}), since, until).order_by().values(by)
        for each in rows.annotate(all=Sum("length"), weighed=Sum(F("length") * F("cpus"), output_field=FloatField())):
            found[each[by]] = {Budgeted.HOURS: each["all"] / HOUR_S, Budgeted.CPU_HOURS: each["weighed"] / HOUR_S}
    return found
