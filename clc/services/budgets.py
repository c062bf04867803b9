"""At most so many hours of running in a term: limits of groups and people: the only writer of Budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from clc.services import events, expiry_rules, groups, people, quotas, runs, spans
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Budgeted
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, Budget, GroupAbove, Instance

WARN_SHARE = 0.8
_AT_MOST = 10**12


@dataclass(frozen=True)
class Standing:
    """A budget, and how many of its hours are used."""

    budget: Budget
    used: float

    @property
    def left(self) -> float:
        """Hours there may still be."""
        return max(int(self.budget.hours) - self.used, 0.0)

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.left <= 0

    @property
    def is_near(self) -> bool:
        """Whether most is used."""
        return self.used >= WARN_SHARE * int(self.budget.hours)

    @property
    def of(self) -> str:
        """Whose it is, as people call them."""
        return self.budget.account.username if self.budget.account else groups.shown(self.budget.group.path)


def check(owner: Account, group: str) -> None:
    """Whether a machine of somebody's may start to run in a group, by its id. Raises Refused(quota) with the budget that is used up."""
    for each in binding(owner, group):
        if each.is_spent:
            row = each.budget
            raise Refused("quota", f"The budget of {each.of} is used up",
                          f"{Budgeted(row.counted).en}: {each.used:.1f} of {row.hours}, until {clock.rfc3339(row.to_at)}; {row.set_by} set it",
                          hint="Ask who set it for more.")


def binding(owner: Account, group: str) -> list[Standing]:
    """The budgets of now that bind what belongs to somebody in a group."""
    above = GroupAbove.objects.filter(group=group).values("above")
    return standings(current().filter(Q(account=owner) | Q(group__in=above)))


def current() -> QuerySet[Budget]:
    """Those whose term it is."""
    now = clock.now()
    return Budget.objects.filter(from_at__lte=now, to_at__gt=now).select_related("group", "account").order_by("counted", "pk")


def standings(rows: Iterable[Budget]) -> list[Standing]:
    """Budgets with what is used of them: two questions for each term."""
    known = list(rows)
    used: dict[tuple[float, float], dict[Any, dict[Budgeted, float]]] = {}
    for term in {(row.from_at, row.to_at) for row in known}:
        mine = [row for row in known if (row.from_at, row.to_at) == term]
        used[term] = runs.hours(*term, groups={r.group_id for r in mine if r.group_id}, people={r.account_id for r in mine if r.account_id})
    return [Standing(r, used[r.from_at, r.to_at].get(r.group_id or r.account_id, {}).get(Budgeted(r.counted), 0.0)) for r in known]


def known(by: Account, *, group: str = "", user: str = "") -> list[Standing]:
    """The budgets of a group, or of a person, also of other terms; without either, those that bind ``by`` now. Raises Refused(not_found | forbidden)."""
    rows = Budget.objects.select_related("group", "account").order_by("counted", "pk")
    if user:
        return standings(rows.filter(account=people.find(by, user)))
    if group:
        return standings(rows.filter(group=groups.resolve(by, group)))
    return binding(by, by.group_id)


def put(by: Account, counted: str, hours: int | None, since: str = "", until: str = "", *, group: str = "", user: str = "") -> Standing | None:
    """Set a budget from one day to another, both with it; ``hours`` None: there is none any more. By who may set limits there.

    Raises Refused(invalid | not_found | forbidden).
    """
    if counted not in list(Budgeted):
        raise Refused("invalid", "That is not counted", f"it is one of {', '.join(Budgeted)}, not {counted[:20]!r}", field="counted")
    if hours is not None and not 0 <= hours <= _AT_MOST:
        raise Refused("invalid", "The budget is not possible", "give 0 hours or more", field="hours")
    if bool(group) == bool(user):
        raise Refused("invalid", "Whose budget?", "give a group or a user", field="group")
    with memory.atomic():
        whose: dict[str, Any] = {"account": quotas.limited_person(by, user)} if user else {"group": quotas.limited_group(by, group)}
        row = Budget.objects.filter(counted=counted, **whose).first()
        before = {"hours": int(row.hours), "from_at": row.from_at, "to_at": row.to_at} if row else {}
        after: dict[str, Any] = {}
        if hours is None:
            Budget.objects.filter(counted=counted, **whose).delete()
        else:
            after = {"hours": hours, **_term(since, until, row)}
            kept = after | {"set_by": by.username, "set_at": clock.now(), "warned_at": 0, "spent_at": 0}
            row, _ = Budget.objects.update_or_create(counted=counted, **whose, defaults=kept, create_defaults={"id": ids.new("bdg"), **kept})
        noun, subject, name = ("user", str(whose["account"].pk), whose["account"].username) if user else ("group", whose["group"].pk, whose["group"].path)
        events.record(noun, subject, "budget set" if after else "budget lifted", owner=whose.get("account"), name=name, counted=counted, before=before,
                      after=after)
    return standings([row])[0] if row and after else None


def _term(since: str, until: str, before: Budget | None) -> dict[str, float]:
    """The two ends of a term; those of ``before`` where nothing is said, if it is not over. Raises Refused(invalid)."""
    from clc.services import audit_export

    kept = before if before and before.to_at > clock.now() else None
    from_at = audit_export.moment(since.strip(), "since") if since.strip() else float(kept.from_at) if kept else clock.now()
    to_at = spans.moment(until, "until") if until.strip() or kept is None else float(kept.to_at)
    if to_at is None or to_at <= from_at or from_at < 0:
        raise Refused("invalid", "The term is not possible", "its last day is before its first, or there is none", field="until")
    return {"from_at": from_at, "to_at": to_at}


# what the periodic work notes


def note(each: Standing) -> str:
    """Note how a budget stands now; ``near`` or ``spent`` when that is new, else nothing. What has hours again is as before."""
    row, now = each.budget, clock.now()
    # spent at a moment that is still to come: our clock was set back
    spent_at = (row.spent_at if 0 < row.spent_at <= now else now) if each.is_spent else 0
    warned_at = (row.warned_at or now) if each.is_near else 0
    is_news = "spent" if spent_at and not row.spent_at else "near" if warned_at and not row.warned_at else ""
    if (spent_at, warned_at) != (row.spent_at, row.warned_at):
        Budget.objects.filter(pk=row.pk).update(spent_at=spent_at, warned_at=warned_at)
        row.spent_at, row.warned_at = spent_at, warned_at
    return is_news


def grace_over(row: Budget) -> float:
    """When what runs under a budget that is used up ends; 0: it is not used up."""
    if not row.spent_at:
        return 0.0
    group = row.group_id or row.account.group_id
    return float(row.spent_at + expiry_rules.binding(group).budget_grace_s)


def under(row: Budget) -> QuerySet[Instance]:
    """The machines that a budget counts."""
    return Instance.objects.filter(owner=row.account_id) if row.account_id else Instance.objects.filter(group__above_it__above=row.group_id)
