"""At most so much: limits of groups and of people, counted from what there is in the transaction that makes more: the only writer of Quota."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum

from clc.services import events, groups, people
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Counted, InstanceState, Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, ElasticAddress, Group, GroupAbove, Image, Instance, Quota

Amounts = Mapping[Counted, int]
_AT_MOST = 2**53


@dataclass(frozen=True)
class Standing:
    """A limit, and how much of it is used."""

    quota: Quota
    used: int

    @property
    def left(self) -> int:
        """How much more there may be."""
        return max(int(self.quota.limit) - self.used, 0)

    @property
    def of(self) -> str:
        """Whose limit it is, as people call them."""
        return self.quota.account.username if self.quota.account else groups.shown(self.quota.group.path)


def check(owner: Account, group: str, more: Amounts, but_of: str = "") -> None:
    """Whether there may be so much more of ``owner``'s in a group, by its id; limits that count it already, as it is in ``but_of``, aside.

    In the transaction that makes it.

    Who makes more below the same limit waits for the others: its row is locked before anything is counted. Raises Refused(quota) with the
    limit, who set it, and what would fit.
    """
    asked = {name: many for name, many in more.items() if many > 0}
    counts_already = GroupAbove.objects.filter(group=but_of).values("above")
    rows = list(_binding(owner, group).filter(counted__in=asked).exclude(group__in=counts_already).select_for_update().order_by("pk"))
    for each in standings(rows):
        many = asked[Counted(each.quota.counted)]
        if each.used + many > each.quota.limit:
            what = Counted(each.quota.counted)
            raise Refused(
                "quota", f"The limit of {each.of} is reached",
                f"{what.en}: {each.used} of {each.quota.limit} are used, {many} more are asked for, {each.left} would fit; {each.quota.set_by} set it",
                hint="Delete what nobody needs, or ask who set it for more.",
            )


def check_machines(account: Account, count: int, cpus: int, memory_mib: int, disk_mib: int = 0) -> None:
    """The same for so many machines of one size, which belong to the group of who makes them."""
    more = {Counted.INSTANCES: 1, Counted.CPUS: cpus, Counted.MEMORY: memory_mib, Counted.DISK: disk_mib}
    check(account, account.group_id, {name: each * count for name, each in more.items()})


def standings(rows: Iterable[Quota]) -> list[Standing]:
    """Limits with what is used of them: three counts for all limits of groups, three for all of people."""
    known = list(rows)
    of_groups = _used({q.group_id for q in known if q.group_id}, "group__above_it__above", "owner__group__above_it__above")
    of_people = _used({q.account_id for q in known if q.account_id}, "owner", "owner")
    return [Standing(q, (of_groups.get(q.group_id) or {} if q.group_id else of_people.get(q.account_id) or {}).get(Counted(q.counted), 0)) for q in known]


def binding(account: Account) -> list[Standing]:
    """The limits somebody's next machine must keep."""
    return standings(_binding(account, account.group_id).select_related("group", "account").order_by("counted", "pk"))


def every(*, group: Group | None = None, account: Account | None = None) -> list[tuple[Counted, int, Standing | None]]:
    """All that is counted of a group or of a person: how much is used, and the limit with it if there is one."""
    found = _used({account.pk}, "owner", "owner") if account else _used({group.pk if group else ""}, "group__above_it__above", "owner__group__above_it__above")
    used = next(iter(found.values()), {})
    rows = {row.counted: row for row in Quota.objects.filter(account=account, group=group).select_related("group", "account")}
    return [(each, used.get(each, 0), Standing(rows[each], used.get(each, 0)) if each in rows else None) for each in Counted]


def left(account: Account) -> dict[Counted, int]:
    """How much more of what is limited somebody may make: the least of the limits that bind them."""
    found: dict[Counted, int] = {}
    for each in binding(account):
        what = Counted(each.quota.counted)
        found[what] = min(found.get(what, each.left), each.left)
    return found


def may_put(by: Account, *, group: str = "", user: str = "") -> bool:
    """Whether somebody may set limits of that group, by its id, or of that person."""
    try:
        _ = limited_person(by, user) if user else limited_group(by, group)
    except Refused:
        return False
    return True


def known(by: Account, *, group: str = "", user: str = "") -> list[Standing]:
    """The limits of a group, or of a person; without either, those that bind ``by``. Raises Refused(not_found | forbidden)."""
    if user:
        return standings(Quota.objects.filter(account=people.find(by, user)).select_related("account"))
    if group:
        return standings(Quota.objects.filter(group=groups.resolve(by, group)).select_related("group"))
    return binding(by)


def put(by: Account, counted: str, limit: int | None, *, group: str = "", user: str = "") -> Standing | None:
    """Set a limit; None: there is none any more. Of a group by who manages people above it, of a person by who manages that person: nobody sets their own.

    What is used already stays, also when it is more. Raises Refused(invalid | not_found | forbidden).
    """
    if counted not in list(Counted):
        raise Refused("invalid", "That is not counted", f"it is one of {', '.join(Counted)}, not {counted[:20]!r}", field="counted")
    if limit is not None and not 0 <= limit <= _AT_MOST:
        raise Refused("invalid", "The limit is not possible", "give 0 or more", field="limit")
    if bool(group) == bool(user):
        raise Refused("invalid", "Whose limit?", "give a group or a user", field="group")
    with memory.atomic():
        whose: dict[str, Any] = {"account": limited_person(by, user)} if user else {"group": limited_group(by, group)}
        row = Quota.objects.filter(counted=counted, **whose).first()
        before = {"limit": int(row.limit)} if row else {}
        if limit is None:
            Quota.objects.filter(counted=counted, **whose).delete()
        else:
            kept = {"limit": limit, "set_by": by.username, "set_at": clock.now()}
            row, _ = Quota.objects.update_or_create(counted=counted, **whose, defaults=kept, create_defaults={"id": ids.new("qta"), **kept})
        noun, subject, name = ("user", str(whose["account"].pk), whose["account"].username) if user else ("group", whose["group"].pk, whose["group"].path)
        events.record(noun, subject, "limit set" if limit is not None else "limit lifted", owner=whose.get("account"), name=name, counted=counted,
                      before=before, after={} if limit is None else {"limit": limit})
    return standings([row])[0] if row and limit is not None else None


def forget_account(account: Account) -> None:
    """Somebody is no more, and limits nobody. In a transaction of the caller's."""
    Quota.objects.filter(account=account).delete()


def _binding(owner: Account, group: str) -> QuerySet[Quota]:
    return Quota.objects.filter(Q(account=owner) | Q(group__in=GroupAbove.objects.filter(group=group).values("above")))


def _used(of: set[Any], by_thing: str, by_owner: str) -> dict[Any, dict[Counted, int]]:
    """What there is, by whose it is. ``by_thing`` leads from a machine or image to that, ``by_owner`` from a public address."""
    if not of:
        return {}
    found: dict[Any, dict[Counted, int]] = {}
    machines = Instance.objects.exclude(state=InstanceState.DELETED).filter(**{f"{by_thing}__in": of}).order_by().values(by_thing)
    for row in machines.annotate(n=Count("pk"), cpus_=Sum("cpus"), memory_=Sum("memory_mib"), disk_=Sum("data_disk_mib")):
        found[row[by_thing]] = {Counted.INSTANCES: row["n"], Counted.CPUS: row["cpus_"], Counted.MEMORY: row["memory_"], Counted.DISK: row["disk_"]}
    images = Image.objects.filter(retired=False, **{f"{by_thing}__in": of}).order_by().values(by_thing).annotate(n=Count("pk"))
    for row in images:
        found.setdefault(row[by_thing], {})[Counted.IMAGES] = row["n"]
    lent = ElasticAddress.objects.filter(retired_at=0, **{f"{by_owner}__in": of}).order_by().values(by_owner).annotate(n=Count("pk"))
    for row in lent:
        found.setdefault(row[by_owner], {})[Counted.ADDRESSES] = row["n"]
    return found


def limited_group(by: Account, text: str) -> Group:
    """The group of that path or id, for who may set its limits: who manages people above it. Raises Refused(not_found | forbidden)."""
    row = groups.resolve(by, text)
    if row.parent_id is None:
        scope.require_admin(by)
    else:
        scope.require(by, Kind.ACCOUNT, Verb.WRITE, row.parent_id)
    return row


def limited_person(by: Account, username: str) -> Account:
    """The person of that name, for who may set their limits. Raises Refused(not_found | forbidden)."""
    account = people.find(by, username, Verb.WRITE)
    if account.pk == by.pk and not by.is_admin:
        raise Refused("forbidden", "Nobody sets their own limits", hint="Ask whoever manages your group.")
    return account
