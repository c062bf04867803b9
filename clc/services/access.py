"""What may reach an instance from outside, said to its cluster as one numbered word: the only writer of Access."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce

from clc.services import events, rules
from clc.services.own import own
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import AccessSet
from luhyaapi.contracts.reports import AccessFacts
from luhyaapi.contracts.specs import WORDS, Allow, ForwardAsk
from luhyaapi.contracts.vocabulary import HostState, InstanceState, Protocol, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, outbox, scope
from luhyadb.models import Access, Account, Forward, GroupMember, Host, Instance, Outbox

_RULES_OF_ONE = 256
_AGAIN_AT_ONCE = 500
_UNDER_WAY_S = 30.0
"""A word this young may not have been heard yet, or not be in the last heartbeat."""


def is_placed(row: Instance) -> bool:
    """Whether its cluster knows it, so that a word about it is kept there."""
    return bool(row.node and row.cluster) and row.state != InstanceState.DELETED


def set_rules(account: Account, ident: str, given: Sequence[Mapping[str, str]]) -> Instance:
    """Let these reach an instance, beside what its groups let in. Raises Refused(invalid | not_found | quota | state)."""
    kept = rules.read(given)
    with memory.atomic():
        row = held(account, ident)
        had, _ = Access.objects.get_or_create(instance=row)
        Access.objects.filter(instance=row).update(rules=kept)
        events.record("instance", row.pk, "security rules changed", owner_id=row.owner_id, rules=len(kept),
                      before={"rules": had.rules}, after={"rules": kept})
        changed([row])
    return row


def held(account: Account, ident: str) -> Instance:
    """A visible instance that is not deleted until this transaction ends. Raises Refused(not_found), Refused(state) for one that is deleted, or about to be."""
    row = Instance.objects.select_for_update().get(pk=scope.one(account, Instance, Verb.WRITE, pk=ident).pk)
    if InstanceState.DELETED in (row.state, row.wanted):
        raise Refused("state", "Nothing can reach this instance any more", "it is being deleted")
    return row


def changed(rows: Iterable[Instance], *, must: bool = True) -> None:
    """What may reach these instances is another now: told where they have a place. Call it in the transaction of the change.

    Raises Refused(quota) where too many rules meet in one, Refused(state) where a cluster is too old to let anything in;
    not ``must``: never, for what is closed is closed.
    """
    _tell(rows, must=must)


def placed(row: Instance) -> None:
    """Its cluster has a place for it, and knows nothing yet of what may reach it."""
    if Access.objects.filter(instance=row).exists():
        _tell([row], must=False)


def forget(row: Instance) -> None:
    """An instance is no more."""
    Access.objects.filter(instance=row).delete()


def _tell(rows: Iterable[Instance], *, must: bool, beyond: int = 0) -> None:
    """``beyond``: by how much more than one the numbers rise."""
    known = {row.pk: row for row in rows}
    numbers = dict(Access.objects.select_for_update().filter(instance__in=known).values_list("instance_id", "number"))
    Access.objects.bulk_create(Access(instance_id=pk) for pk in known.keys() - numbers.keys())
    allow, forwards = _allowed(known), _asked(known)
    clusters = Host.objects.in_bulk({row.cluster for row in known.values() if is_placed(row)})
    for pk, row in known.items():
        number = numbers.get(pk, 0)
        number += 1 + (beyond if number + beyond < WORDS else 0)
        if must and len(allow[pk]) > _RULES_OF_ONE:
            raise Refused("quota", f"Too many rules for {row.name}", f"{len(allow[pk])} of its own and of its groups, at most {_RULES_OF_ONE}")
        Access.objects.filter(pk=pk).update(number=number, said_at=clock.now())
        cluster = clusters.get(row.cluster) if is_placed(row) else None
        if cluster is not None and (must or is_able(cluster)):
            order = AccessSet(instance=pk, number=number, allow=allow[pk][:_RULES_OF_ONE], forwards=forwards.get(pk, ()))
            outbox.send(order, _able(cluster).pk, sender=own().id, task=ids.new("tsk"), speaks=cluster.speaks, whole=True)


def is_able(cluster: Host) -> bool:
    """Whether a cluster knows what may be let in."""
    return AccessSet.kind in cluster.speaks


def _able(cluster: Host) -> Host:
    if not is_able(cluster):
        raise Refused("state", "The cluster cannot let anything in yet", f"{cluster.name} runs an older version", hint="Update it first.")
    return cluster


def _allowed(idents: Iterable[str]) -> dict[str, tuple[Allow, ...]]:
    several: dict[str, list[Sequence[rules.Kept]]] = {pk: [] for pk in idents}
    for pk, kept in Access.objects.filter(instance__in=several).values_list("instance_id", "rules"):
        several[pk].append(kept)
    for pk, kept in GroupMember.objects.filter(instance__in=several).order_by("group__name", "pk").values_list("instance_id", "group__rules"):
        several[pk].append(kept)
    return {pk: rules.together(each) for pk, each in several.items()}


def _asked(idents: Iterable[str]) -> dict[str, tuple[ForwardAsk, ...]]:
    asked: dict[str, tuple[ForwardAsk, ...]] = {}
    for row in Forward.objects.filter(instance__in=list(idents)):
        if not row.until or row.until > clock.now():
            ask = ForwardAsk(id=row.pk, protocol=Protocol(row.protocol), guest_port=row.guest_port, sources=tuple(row.sources), until=row.until)
            asked[row.instance_id] = (*asked.get(row.instance_id, ()), ask)
    return asked


def heard(report: AccessFacts, sender: str) -> bool:
    """What a cluster says of an instance of its own; whether it counts. In a transaction of the caller's."""
    row = Access.objects.select_for_update().select_related("instance").filter(instance=report.instance).first()
    if row is None or row.instance.cluster != sender or report.number < row.heard:
        return False
    trouble = report.error.model_dump() if report.error else None
    Access.objects.filter(pk=row.pk).update(heard=report.number, number=max(row.number, report.number), trouble=trouble)
    if trouble and is_news(trouble, row.trouble):
        events.record("instance", row.pk, "less reaches it than was asked for", owner_id=row.instance.owner_id, host=sender, why=trouble["what"])
    if report.number > row.number:
        # our memory is an older copy: only a newer word than that one counts there
        _tell([row.instance], must=False)
    return True


def is_news(trouble: Mapping[str, str] | None, before: Mapping[str, str] | None) -> bool:
    """Whether it is another trouble, and not the same told again with other figures."""
    return [(trouble or {}).get(part) for part in ("code", "what")] != [(before or {}).get(part) for part in ("code", "what")]


def repair(pictures: Mapping[str, Mapping[str, Any]], before: AbstractSet[str]) -> set[str]:
    """Say again what may reach instances, to clusters of ``before`` that still heard something else than was said; those that differ now.

    ``pictures``: their facts by host. Called with what the call before answered: once may be a word under way.
    """
    waiting = set(Outbox.objects.values_list("to", flat=True))
    there = Access.objects.exclude(instance__node="").exclude(instance__state=InstanceState.DELETED)
    young = Q(said_at__gt=clock.now() - _UNDER_WAY_S)
    sums = there.order_by().values("instance__cluster").annotate(sum=Sum("number"), open=Coalesce(Sum(F("number") - F("heard"), filter=young), 0))
    said = {cluster: (most - under_way, most) for cluster, most, under_way in sums.values_list("instance__cluster", "sum", "open")}
    differ: set[str] = set()
    for cluster in Host.objects.filter(pk__in=said).exclude(state=HostState.RETIRED):
        found = pictures.get(cluster.pk, {}).get("access")
        if found is None or cluster.pk in waiting or not is_able(cluster):
            continue
        least, most = said[cluster.pk]
        if least <= found <= most:
            continue
        if cluster.pk not in before:
            differ.add(cluster.pk)
            continue
        with memory.atomic():
            rows = there.filter(instance__cluster=cluster.pk).order_by("said_at", "pk").select_related("instance")[:_AGAIN_AT_ONCE]
            # where it heard more than we remember saying, our memory is an older copy: each is counted on from above that
            _tell([each.instance for each in rows], must=False, beyond=max(int(found) - most, 0))
    return differ
