"""What may reach an instance from outside: the words of the CLC, the ports lent for them. The only writer of AccessOrder and ForwardLease."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.db.models import Max, Sum

from cc.services import pool, pools
from cc.services.office import Office
from luhyaapi import clock, ids
from luhyaapi.conf import Network
from luhyaapi.contracts.commands import AccessSet
from luhyaapi.contracts.reports import AccessFacts
from luhyaapi.contracts.specs import Fault, ForwardAsk, ForwardFacts
from luhyaapi.contracts.vocabulary import NetworkMode, Protocol
from luhyaapi.edge import routes
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from luhyadb import memory
from luhyadb.models import AccessOrder, Child, ElasticLink, ForwardLease, Placement


def hear(office: Office, order: AccessSet) -> bool:
    """Have this reach the instance and nothing else; false for a word that is not newer than the last.

    Raises Refused(not_found) for an instance without a place, Unavailable(no_capacity) with too few free ports; then all is as before.
    """
    with memory.atomic():
        pool.alone()
        if not Placement.objects.filter(pk=order.instance).exists():
            raise Refused("not_found", "The instance has no place in this cluster", order.instance)
        before = AccessOrder.objects.filter(pk=order.instance).first()
        if before and before.number >= order.number:
            return False
        allow = [each.model_dump(mode="json") for each in order.allow]
        AccessOrder.objects.update_or_create(instance=order.instance, defaults={"number": order.number, "allow": allow})
        _lend(office.agent.settings.network, order)
    return True


def tell(office: Office, instance: str, error: Trouble | None = None, number: int = 0) -> None:
    """Report how it is; ``number`` is that of the word that came to nothing by ``error``. In a transaction of the caller's, or alone."""
    row = AccessOrder.objects.filter(pk=instance).first()
    rows = ForwardLease.objects.filter(instance=instance).order_by("port")
    try:
        address = address_of(office) if rows else ""
    except Trouble as e:
        address, error = "", e
    near = node_addresses([instance]).get(instance, "") if rows else ""
    facts = AccessFacts(
        instance=instance, number=number or (row.number if row else 0), error=Fault(**error.wire()) if error else None,
        forwards=tuple(ForwardFacts(id=each.forward, address=address, port=each.port, node_address=near) for each in rows if address),
    )
    office.agent.report(facts, ids.new("tsk"))


def is_theirs(instance: str, trouble: Trouble) -> bool:
    """Whether a trouble of the edge is that instance's. One of a public address, behind which all else is as wanted, is that of whom it leads to."""
    address = trouble.params.get("address")
    return not address or ElasticLink.objects.filter(address=address, instance=instance).exists()


def address_of(office: Office) -> str:
    """Where users reach the ports of this cluster. Raises Failed(network) without one."""
    chosen = office.agent.settings.network.address or routes.own_address() or routes.address_in(office.door)
    if not chosen:
        raise Failed("network", "The cluster has no address for its users", hint="Set network.address of the cluster.")
    return chosen


def forget(instance: str) -> None:
    """It has gone: its ports rest. In a transaction of the caller's."""
    AccessOrder.objects.filter(pk=instance).delete()
    _rest(ForwardLease.objects.filter(instance=instance).values_list("pk", flat=True))


def expire(office: Office) -> int:
    """End the forwards whose time is over; how many."""
    with memory.atomic():
        over = list(ForwardLease.objects.exclude(instance="").filter(until__gt=0, until__lte=clock.now()))
        if over:
            pool.alone()
            _rest([row.pk for row in over])
            for instance in sorted({row.instance for row in over}):
                tell(office, instance)
    return len(over)


def is_reached(instance: str) -> bool:
    """Whether there are rules for it, a port or a public address."""
    return any(table.objects.filter(instance=instance).exists() for table in (AccessOrder, ForwardLease, ElasticLink))


def heard() -> int:
    """The sum of the numbers of the last words."""
    return AccessOrder.objects.aggregate(sum=Sum("number"))["sum"] or 0


def node_addresses(instances: Collection[str]) -> dict[str, str]:
    """By instance the address of its node, where that is the gateway of its first card and others reach it."""
    places = Placement.objects.filter(pk__in=instances).values_list("pk", "node", "spec")
    behind = {pk: node for pk, node, spec in places if [card.get("mode") for card in spec["nics"]][:1] == [NetworkMode.NODE]}
    doors = dict(Child.objects.filter(pk__in=behind.values()).values_list("pk", "address"))
    found = {pk: routes.address_in(doors.get(node, "")) for pk, node in behind.items()}
    return {pk: address for pk, address in found.items() if address}


def _lend(network: Network, order: AccessSet) -> None:
    now = clock.now()
    ForwardLease.objects.filter(instance="", released_at__lt=now - network.cooldown_s).delete()
    asked = {each.id: each for each in order.forwards}
    held = {row.forward: row for row in ForwardLease.objects.filter(instance=order.instance)}
    _rest([row.pk for ident, row in held.items() if not _is_same(row, asked.get(ident or ""))])
    for each in asked.values():
        row = held.get(each.id)
        if row is not None and _is_same(row, each):
            ForwardLease.objects.filter(pk=row.pk).update(sources=list(each.sources), until=each.until)
        elif not each.until or each.until > now:
            ForwardLease(
                protocol=each.protocol, port=_free(network, each.protocol), forward=each.id, instance=order.instance, guest_port=each.guest_port,
                sources=list(each.sources), until=each.until,
            ).save(force_insert=True)


def _is_same(row: ForwardLease, asked: ForwardAsk | None) -> bool:
    return asked is not None and (row.protocol, row.guest_port) == (asked.protocol, asked.guest_port)


def _rest(keys: Iterable[int]) -> None:
    ForwardLease.objects.filter(pk__in=list(keys)).update(forward=None, instance="", guest_port=0, sources=[], until=0, released_at=clock.now())


def _free(network: Network, protocol: Protocol) -> int:
    """The lowest port above all that are lent or rest, and when there is none the lowest between them."""
    every = pool.ports(network)
    rows = ForwardLease.objects.filter(protocol=protocol, port__gte=every.start, port__lt=every.stop)
    highest = rows.aggregate(port=Max("port"))["port"]
    after = every.start if highest is None else highest + 1
    if after < every.stop:
        return int(after)
    taken = set(rows.values_list("port", flat=True))
    free = next((port for port in every if port not in taken), None)
    if free is None:
        resting = list(rows.filter(instance="").values_list("released_at", flat=True))
        lent = len(taken) - len(resting)
        raise Unavailable(
            "no_capacity", "No port of the cluster is free", f"of {len(taken)}, {lent} are lent and {len(resting)} rest after their last use",
            hint=pools.when_free(resting, network.cooldown_s, "Close forwards that nobody needs, or have the cluster lend more ports."),
        )
    return free
