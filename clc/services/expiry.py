"""When machines end: given at their start, moved by who may change them, for one or for all of a group: the only writer of Expiry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import QuerySet

from clc.services import events, expiry_rules, groups, spans
from clc.services.expiry_rules import Rule
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import InstanceState, Kind, Verb
from luhyaapi.errors import Refused
from luhyaapi.machines import WORKSPACE
from luhyadb import memory, scope
from luhyadb.models import Account, Expiry, Group, Instance, Workspace

LATE_S = 3600.0
"""Who hears of an end later than this before it, though it was to be told sooner, was surprised."""
_SLACK_S = 60.0
_SOON = 5


def for_new(account: Account, text: str) -> float | None:
    """When a new machine of somebody ends; ``text`` empty: as its group says; None: never. Raises Refused(invalid | quota)."""
    rule = expiry_rules.binding(account.group_id)
    if not text.strip():
        return None if rule.usual_s is None else clock.now() + rule.usual_s
    return _possible(account, account.group_id, rule, text)


def _possible(by: Account, group: str, rule: Rule, text: str) -> float | None:
    at = spans.moment(text, "expires")
    is_longer = rule.longest_s is not None and (at is None or at > clock.now() + rule.longest_s + _SLACK_S)
    if is_longer and not may_go_further(by, group):
        raise Refused("quota", "A machine may not be there for so long",
                      f"in {rule.longest_of} at most {spans.shown(rule.longest_s)}; {rule.longest_by} set it",
                      hint="Ask whoever manages your group.", field="expires")
    return at


def may_go_further(by: Account, group: str) -> bool:
    """Whether somebody may let machines of a group be there longer than it says: not because they are theirs."""
    return by.is_admin or scope.reach(by, Kind.INSTANCE, Verb.WRITE).filter(group=group).exists()


def give(row: Instance, at: float | None, by: str) -> None:
    """A new machine ends then. In the transaction that makes it."""
    if at is not None:
        Expiry.objects.create(instance=row, set_by=by, **_told(at, expiry_rules.binding(row.group_id)))


def _told(at: float, rule: Rule) -> dict[str, Any]:
    """The columns of an end that was just set: who sets one so near that it would be told at once knows it."""
    now = clock.now()
    warn_at = at - rule.warn_s
    known = warn_at <= now
    return {"expires_at": at, "warn_at": now if known else warn_at, "warned_at": now if known else 0, "late": False, "ended_at": 0, "tried_at": 0,
            "let_go": False}


def put(by: Account, ident: str, text: str) -> Instance:
    """Have a machine end at another time, or never. Its owner as far as its group allows, others who may change it as they like.

    Raises Refused(invalid | not_found | forbidden | state | quota).
    """
    with memory.atomic():
        row = scope.one(by, Instance, Verb.WRITE, pk=ident)
        if InstanceState.DELETED in {row.state, row.wanted}:
            raise Refused("state", "This instance has no end to be moved", "it is deleted, or being deleted")
        rule = expiry_rules.binding(row.group_id)
        _set([row], _possible(by, row.group_id, rule, text), rule, by)
    return row


def put_all(by: Account, group: str, text: str) -> int:
    """Have all machines of a group and below it end at one time, or never; how many. Workspaces go on. Raises Refused(invalid | not_found | forbidden)."""
    at = spans.moment(text, "expires")
    with memory.atomic():
        where = groups.resolve(by, group)
        scope.require(by, Kind.INSTANCE, Verb.WRITE, where.pk)
        rows = list(machines_of(by, where.path))
        _set(rows, at, expiry_rules.binding(where.pk), by)
        events.record("group", where.pk, "group's machines given an end" if at is not None else "group's machines given no end", path=where.path,
                      machines=len(rows), expires_at=at or "never")
    return len(rows)


def machines_of(by: Account, path: str) -> QuerySet[Instance]:
    """The machines of a group and below it whose end somebody may set at once: all but those a workspace works in."""
    within = groups.below(Group.objects.all(), path).values("pk")
    worked_in = Workspace.objects.exclude(state__in=WORKSPACE.final).values("instance")
    rows = scope.visible_to(by, Instance, Verb.WRITE).filter(group__in=within).exclude(state=InstanceState.DELETED)
    return rows.exclude(wanted=InstanceState.DELETED).exclude(pk__in=worked_in)


def _set(rows: Sequence[Instance], at: float | None, rule: Rule, by: Account) -> None:
    old = of(row.pk for row in rows)
    if at is None:
        Expiry.objects.filter(instance__in=list(old)).delete()
    else:
        told = _told(at, rule) | {"set_by": by.username}
        Expiry.objects.filter(instance__in=list(old)).update(**told)
        Expiry.objects.bulk_create([Expiry(instance=row, **told) for row in rows if row.pk not in old], batch_size=500)
    for row in rows:
        before = {"expires_at": old[row.pk].expires_at} if row.pk in old else {}
        events.record("instance", row.pk, "end moved", owner_id=row.owner_id, before=before, after={"expires_at": at} if at is not None else {})


def of(instances: Iterable[str]) -> dict[str, Expiry]:
    """The ends of some machines, by their ids."""
    return {row.instance_id: row for row in Expiry.objects.filter(instance__in=list(instances))}


def soon(account: Account) -> list[Expiry]:
    """The next of somebody's machines that end soon or have ended."""
    mine = Expiry.objects.filter(instance__owner=account, warn_at__lte=clock.now()).exclude(instance__state=InstanceState.DELETED)
    return list(mine.select_related("instance").order_by("expires_at", "pk")[:_SOON])


def check_may_start(row: Instance) -> None:
    """Whether a machine may run, as far as its end goes. Raises Refused(state)."""
    end = Expiry.objects.filter(instance=row, expires_at__lte=clock.now()).first()
    if end is not None:
        raise Refused("state", "This instance cannot start now", f"it expired at {clock.rfc3339(end.expires_at)}",
                      hint="Give it a later end first: on its page, or by educloud instance expire.")


# what the periodic work notes


def warned(row: Expiry) -> None:
    """Its end was told."""
    now = clock.now()
    late = now - row.warn_at > LATE_S and row.expires_at - now < LATE_S
    Expiry.objects.filter(pk=row.pk).update(warned_at=now, late=late)


def tried(row: Expiry) -> None:
    """It was told to end."""
    Expiry.objects.filter(pk=row.pk).update(tried_at=clock.now())


def ended(row: Expiry) -> None:
    """It has ended; for what comes then, its deletion, nobody has given a word yet."""
    Expiry.objects.filter(pk=row.pk).update(ended_at=clock.now(), let_go=False)


def let_go(rows: QuerySet[Expiry]) -> int:
    """These may end or be deleted although they are very many; how many."""
    return int(rows.update(let_go=True))


def tidy() -> None:
    """What is deleted has no end."""
    Expiry.objects.filter(instance__state=InstanceState.DELETED).delete()
