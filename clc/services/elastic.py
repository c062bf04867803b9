"""Public addresses: brought in by administrators, lent to people, led to instances: the only writer of ElasticAddress."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence

from django.db.models import QuerySet

from clc.services import access, address_holdings, events, networks, people, plans, pools, quotas
from clc.services.cards import DEFAULT
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import NetworksSet
from luhyaapi.contracts.vocabulary import Counted, HostState, Role, Verb
from luhyaapi.errors import Refused, Unavailable
from luhyadb import memory, scope
from luhyadb.models import Account, ElasticAddress, Host, Instance, Network

AT_ONCE = 4096
EACH = 4
"""So many a user has at most; an administrator has as many as there are."""
COOLDOWN_S = 60.0
"""So long one that was released rests before it is lent again: what still speaks to it means the one before."""
_RANGES = 64
_TRIED = 16
_ELASTICS_SINCE = 2
"""The version of the word about networks that names public addresses."""


def add(account: Account, cluster: str, given: Sequence[str]) -> list[ElasticAddress]:
    """More addresses of a cluster, as ``first-last``, one, or CIDR (without its first and last).

    Raises Refused(forbidden | not_found | invalid | quota | exists | conflict | state).
    """
    scope.require_admin(account)
    numbers = _numbers(given)
    with memory.atomic():
        host = _able(pools.cluster(account, cluster))
        plans.alone_of_all(host)
        live = ElasticAddress.objects.filter(live_address__isnull=False)
        if taken := live.filter(number__range=(numbers[0], numbers[-1]), number__in=numbers).first():
            raise Refused("exists", f"{taken.address} is a public address already", f"the cluster {taken.cluster.name} has it", field="ranges")
        if live.filter(cluster=host).count() + len(numbers) > AT_ONCE:
            raise Refused("quota", "The cluster would have too many public addresses", f"at most {AT_ONCE}", field="ranges")
        _refuse_networks(host, numbers)
        now = clock.now()
        rows = [_row(host, number, now) for number in numbers]
        ElasticAddress.objects.bulk_create(rows)
        events.record("elastic", host.pk, "public addresses added", owner=account, host=host.pk, count=len(rows), first=rows[0].address, last=rows[-1].address)
    return rows


def _row(host: Host, number: int, now: float) -> ElasticAddress:
    text = str(ipaddress.IPv4Address(number))
    return ElasticAddress(id=ids.new("eip"), cluster=host, address=text, live_address=text, number=number, created_at=now)


def _numbers(given: Sequence[str]) -> list[int]:
    if not given or len(given) > _RANGES:
        raise Refused("invalid", "Public addresses cannot be read", f"give 1 to {_RANGES} ranges", field="ranges")
    found: set[int] = set()
    for text in given:
        first, last = _ends(text.strip())
        if last - first >= AT_ONCE or len(found) + last - first >= AT_ONCE:
            raise Refused("quota", "Too many public addresses at once", f"at most {AT_ONCE}", field="ranges")
        for end in (ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)):
            if end.is_multicast or end.is_loopback or end.is_link_local or end.is_reserved or int(end) < 2**24:
                raise Refused("invalid", f"{end} cannot be a public address", "it is no host's", field="ranges")
        found.update(range(first, last + 1))
    return sorted(found)


def _ends(text: str) -> tuple[int, int]:
    try:
        if "/" in text:
            net = ipaddress.IPv4Network(text)
            whole = int(net.network_address), int(net.broadcast_address)
            return whole if net.prefixlen >= 31 else (whole[0] + 1, whole[1] - 1)
        first, last = (int(ipaddress.IPv4Address(end.strip())) for end in (text.split("-") if "-" in text else (text, text)))
    except ValueError as e:
        raise Refused("invalid", "A range cannot be read", f"{text[:60]!r}: give first-last, or CIDR", field="ranges") from e
    if first > last:
        raise Refused("invalid", "A range cannot be read", f"{text[:60]!r}: its end comes before its beginning", field="ranges")
    return first, last


def _refuse_networks(host: Host, numbers: Sequence[int]) -> None:
    known = {row.name: (row.subnet, networks.held(row)) for row in Network.objects.filter(cluster=host, retired_at=0)}
    if host.subnet:
        known[DEFAULT] = (host.subnet, [networks.whole(ipaddress.IPv4Network(host.subnet))])
    for name, (subnet, held) in known.items():
        if any(first <= number <= last for number in numbers for first, last in held):
            raise Refused("conflict", "Public addresses overlap with a network", f"{name} of this cluster is {subnet}", field="ranges")
    for row in networks.campuses_beside(host):
        for first, last in networks.spans(ipaddress.IPv4Network(row.subnet), row.ranges):
            if any(first <= number <= last for number in numbers):
                raise Refused("conflict", "Public addresses overlap with a network", f"{row.name} of {row.cluster.name} lends some of them", field="ranges")
    networks.refuse_hosts(host, [set(numbers)], "ranges")


def _able(cluster: Host) -> Host:
    if cluster.speaks.get(NetworksSet.kind, 0) < _ELASTICS_SINCE:
        raise Refused("state", "The cluster cannot have public addresses yet", f"{cluster.name} runs an older version", hint="Update it first.")
    return cluster


def resolve(account: Account, text: str) -> ElasticAddress:
    """The visible one with that id, or that address. Raises Refused(not_found)."""
    by = "pk" if ids.is_id(text, "eip") else "live_address"
    return scope.one(account, ElasticAddress, Verb.READ, **{by: text})


def retire(account: Account, ident: str) -> ElasticAddress:
    """Take a public address back. Raises Refused(forbidden | not_found), Refused(state) while somebody has it."""
    scope.require_admin(account)
    with memory.atomic():
        row = _taken(account, ident)
        if row.owner is not None:
            raise Refused("state", f"{row.address} is lent", f"its owner is {row.owner.username}", hint="Release it first.")
        ElasticAddress.objects.filter(pk=row.pk, owner=None).update(live_address=None, retired_at=clock.now())
        events.record("elastic", row.pk, "public address retired", owner=account, address=row.address)
    return row


def _taken(account: Account, ident: str) -> ElasticAddress:
    """A row that is nobody else's to change until the transaction ends."""
    found = resolve(account, ident)
    plans.alone(found.cluster)
    row = ElasticAddress.objects.select_for_update().select_related("cluster").get(pk=found.pk)
    if row.retired_at or (row.owner_id != account.pk and not account.is_admin):
        return resolve(account, found.pk)
    return row


def allocate(account: Account, cluster: str = "") -> ElasticAddress:
    """Lend an address of a cluster to somebody; the cluster may be left out where only one has any.

    Raises Refused(not_found | invalid | quota), Unavailable(no_capacity).
    """
    with memory.atomic():
        people.require_active(account)
        if _has(account) >= EACH and not account.is_admin:
            raise Refused("quota", "You have as many public addresses as you may", f"at most {EACH}", hint="Release one first, or ask an administrator.")
        quotas.check(account, account.group_id, {Counted.ADDRESSES: 1})
        rows = ElasticAddress.objects.filter(cluster=_lender(cluster), retired_at=0)
        row = _lend(account, rows)
        if row is None:
            resting = list(rows.filter(owner=None).values_list("released_at", flat=True))
            left_s = math.ceil(min(resting) + COOLDOWN_S - clock.now()) if resting else 0
            raise Unavailable("no_capacity", "No public address is free", f"{rows.count()} there are, {len(resting)} rest after their release",
                              hint=f"The next is free in {max(left_s, 1)} s." if resting else "Ask an administrator to add some.")
        events.record("elastic", row.pk, "public address allocated", owner=account, address=row.address)
    return row


def _has(account: Account) -> int:
    return ElasticAddress.objects.filter(owner=account, retired_at=0).count()


def check_share(account: Account, more: int) -> None:
    """Whether somebody may have so many more. Raises Refused(quota)."""
    if more and _has(account) + more > EACH and not account.is_admin:
        raise Refused("quota", f"{account.username} would have too many public addresses", f"at most {EACH}")


def _lend(account: Account, rows: QuerySet[ElasticAddress]) -> ElasticAddress | None:
    now = clock.now()
    free = rows.filter(owner=None, released_at__lte=now - COOLDOWN_S).order_by("released_at", "number")
    while some := list(free[:_TRIED]):
        for row in some:
            if ElasticAddress.objects.filter(pk=row.pk, owner=None, retired_at=0).update(owner=account, allocated_at=now):
                row.owner, row.allocated_at = account, now
                address_holdings.begin(row)
                return row
    return None


def _lender(asked: str) -> Host:
    having = Host.objects.filter(pk__in=ElasticAddress.objects.filter(retired_at=0).values("cluster"), role=Role.CC).exclude(state=HostState.RETIRED)
    by = {"pk": asked} if ids.is_id(asked, "cc") else {"name": asked}
    rows = list(having.filter(**by)[:2]) if asked else list(having[:2])
    if len(rows) > 1:
        raise Refused("invalid", "The cluster must be named", "there are several", field="cluster")
    if not rows:
        why = f"the cluster {asked[:63]!r} has none" if asked else "nobody has brought any in"
        raise Refused("not_found", "There are no public addresses", why, hint="Ask an administrator to add some.", field="cluster")
    return rows[0]


def associate(account: Account, ident: str, instance: str) -> ElasticAddress:
    """Have an address lead to an instance of its owner, away from the one it led to. Raises Refused(not_found | state | forbidden)."""
    with memory.atomic():
        resolve(account, ident)
        target = access.held(account, instance)  # before the address, as when an instance goes
        row = _taken(account, ident)
        if row.owner_id is None:
            raise Refused("state", f"{row.address} is nobody's", "only one that was allocated can lead to an instance", hint="Allocate it first.")
        if row.owner_id != target.owner_id and not account.is_admin:
            raise Refused("forbidden", f"{row.address} and {target.name} have different owners")
        if not access.is_placed(target) or target.cluster != row.cluster_id:
            raise Refused("state", f"{target.name} has no place in the cluster of {row.address}", f"the address is of {row.cluster.name}")
        other = ElasticAddress.objects.filter(instance=target).exclude(pk=row.pk).first()
        if other is not None:
            raise Refused("state", f"{target.name} has a public address already", other.address, hint="Dissociate that one first.")
        if row.instance_id != target.pk:
            _able(row.cluster)
            _lead(row, target)
    return row


def dissociate(account: Account, ident: str) -> ElasticAddress:
    """Have an address lead nowhere; it stays its owner's. Raises Refused(not_found)."""
    with memory.atomic():
        row = _taken(account, ident)
        if row.instance_id is not None:
            _lead(row, None)
    return row


def release(account: Account, ident: str) -> ElasticAddress:
    """Give an address back; it rests before somebody else gets it. Raises Refused(not_found), Refused(state) for one nobody has."""
    with memory.atomic():
        row = _taken(account, ident)
        if row.owner_id is None:
            raise Refused("state", f"{row.address} is nobody's", "there is nothing to release")
        _free(row)
    return row


def _free(row: ElasticAddress) -> None:
    if row.instance_id is not None:
        _lead(row, None)
    events.record("elastic", row.pk, "public address released", owner_id=row.owner_id, address=row.address)
    row.owner, row.released_at = None, clock.now()
    ElasticAddress.objects.filter(pk=row.pk).update(owner=None, released_at=row.released_at)
    address_holdings.end(row)


def _lead(row: ElasticAddress, target: Instance | None) -> None:
    """Let it lead there, and nowhere else, by one word to the cluster."""
    left = row.instance
    ElasticAddress.objects.filter(pk=row.pk).update(instance=target)
    row.instance = target
    if left is not None:
        events.record("instance", left.pk, "public address leads elsewhere", owner_id=left.owner_id, address=row.address,
                      before={"address": row.address}, after={"address": ""})
    if target is not None:
        events.record("instance", target.pk, "public address leads here", owner_id=target.owner_id, address=row.address,
                      before={"address": ""}, after={"address": row.address})
    plans.tell(row.cluster, plans.alone(row.cluster))


def placed(row: Instance) -> None:
    """An instance has a place: an address of another cluster cannot lead there."""
    for led in ElasticAddress.objects.filter(instance=row).exclude(cluster=row.cluster).select_related("cluster"):
        _lead(led, None)


def forget(row: Instance) -> None:
    """An instance is no more: its address stays its owner's, and leads nowhere."""
    for led in ElasticAddress.objects.filter(instance=row).select_related("cluster"):
        with memory.atomic():
            _lead(led, None)


def hand_over(of: Account, to: Account) -> None:
    """What is lent to somebody is somebody else's from now on, and leads where it led. In a transaction."""
    for row in ElasticAddress.objects.select_for_update().filter(owner=of, retired_at=0):
        ElasticAddress.objects.filter(pk=row.pk).update(owner=to)
        events.record("elastic", row.pk, "public address given", owner=to, address=row.address, before={"owner": of.username}, after={"owner": to.username})


def forget_owner(account: Account) -> None:
    """Somebody is no more: what they had is free. In a transaction of the caller's."""
    for row in ElasticAddress.objects.filter(owner=account).select_related("cluster"):
        _free(row)
