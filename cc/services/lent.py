"""What this cluster lends, as it is told above: how much of each pool with every heartbeat, and the leases of a network when they are asked for."""

from __future__ import annotations

import functools
import socket
from collections import Counter
from collections.abc import Mapping, Sequence

from django.db.models import QuerySet

from cc.services import leases, networks, pool, pools
from cc.services.office import Office
from luhyaapi import clock, log, subnets
from luhyaapi.conf import Network
from luhyaapi.contracts.commands import LeasesTell
from luhyaapi.contracts.reports import LeasesFacts
from luhyaapi.contracts.specs import USAGE, Fault, LeaseFacts, NetworkSpec, PoolFacts
from luhyaapi.contracts.vocabulary import LeaseState
from luhyaapi.errors import Refused, Trouble
from luhyadb.models import AddressLease, ForwardLease, PortLease, ReservedAddress, TakenAddress

_log = log.get(__name__)
_COUNTED_S = 60.0
_SIGN = {state: sign for sign, state in USAGE.items()}


def pools_of(network: Network) -> tuple[PoolFacts, ...]:
    """How much of every pool is lent now."""
    found = [_addresses(network, each) for each in networks.everyone(network)]
    ports: dict[int, bool] = {}
    for port, instance in ForwardLease.objects.values_list("port", "instance"):
        ports[port] = ports.get(port, False) or bool(instance)
    displays = {port: bool(instance) for port, instance in PortLease.objects.values_list("port", "instance")}
    found.append(_ports("ports", pool.ports(network), ports))
    found.append(_ports("displays", pools.ports(network.display_first, network.display_count), displays))
    return tuple(found)


def pools_now(office: Office) -> tuple[PoolFacts, ...]:
    """As :func:`pools_of`, counted when something changed, and now and then; nothing of settings that cannot be: a heartbeat tells more than this."""
    number, at, found = office.lends
    changes, now = pool.changes(), clock.now()
    if number != changes or not 0 <= now - at < _COUNTED_S:
        try:
            found = pools_of(office.agent.settings.network)
        except Refused as e:
            _log.warning("what is lent could not be counted", why=str(e))
            found = ()
        office.lends = (changes, now, found)
    return found


def answer(office: Office, order: LeasesTell) -> LeasesFacts:
    """What is asked for; a network that is not here is told as an error."""
    me, network = office.agent.me, office.agent.settings.network
    said = LeasesFacts(host=me, question=order.question, network=order.network)
    try:
        (spec,) = networks.named(network, [order.network])
    except Refused as e:
        return said.model_copy(update={"error": Fault(**e.wire())})
    behind = socket.inet_aton(order.after) if order.after else b""
    rows = [each for each in _rows(network, spec) if socket.inet_aton(each.address) > behind]
    page = _seen(office, spec, rows[: order.limit])
    return said.model_copy(update={"leases": tuple(page), "more": len(rows) > order.limit, "usage": _usage(network, spec) if order.usage else ""})


@functools.lru_cache(64)
def _may_be_lent(subnet: str, ranges: tuple[tuple[str, str], ...], gateway: str) -> frozenset[str]:
    return frozenset(leases.candidates(subnet, ranges)) - {gateway}


def _addresses(network: Network, spec: NetworkSpec) -> PoolFacts:
    may, states = _may_be_lent(spec.subnet, spec.ranges, networks.gateway_of(spec)), _states(network, spec)
    many = Counter(states.values())
    return PoolFacts(
        pool=spec.id, size=len(may), free=len(may - states.keys()), lent=many[LeaseState.LENT], resting=many[LeaseState.RESTING],
        reserved=many[LeaseState.RESERVED], taken=many[LeaseState.TAKEN],
    )


def _ports(name: str, every: range, used: Mapping[int, bool]) -> PoolFacts:
    """``used``: whether they are lent, or rest."""
    within = [lent for port, lent in used.items() if port in every]
    return PoolFacts(
        pool=name, first=every[0] if every else 0, last=every[-1] if every else 0, size=len(every), free=len(every) - len(within),
        lent=sum(within), resting=len(within) - sum(within),
    )


def _states(network: Network, spec: NetworkSpec) -> dict[str, LeaseState]:
    """By address how it stands, of those that are not free: what is lent before all else."""
    found = dict.fromkeys(ReservedAddress.objects.filter(network=spec.id).values_list("ip", flat=True), LeaseState.RESERVED)
    found |= dict.fromkeys(_resting(network, spec).values_list("ip", flat=True), LeaseState.RESTING)
    found |= dict.fromkeys(_taken(spec).values_list("ip", flat=True), LeaseState.TAKEN)
    found |= dict.fromkeys(_lent(spec).values_list("ip", flat=True), LeaseState.LENT)
    return found | {networks.gateway_of(spec): LeaseState.GATEWAY}


def _lent(spec: NetworkSpec) -> QuerySet[AddressLease]:
    return AddressLease.objects.filter(network=spec.id).exclude(instance="")


def _resting(network: Network, spec: NetworkSpec) -> QuerySet[AddressLease]:
    """What has rested is forgotten when somebody is lent something, and free before that."""
    return AddressLease.objects.filter(network=spec.id, instance="", released_at__gte=clock.now() - network.cooldown_s)


def _taken(spec: NetworkSpec) -> QuerySet[TakenAddress]:
    return TakenAddress.objects.filter(network=spec.id, seen_at__gte=clock.now() - leases.TAKEN_S)


def _usage(network: Network, spec: NetworkSpec) -> str:
    states, may = _states(network, spec), _may_be_lent(spec.subnet, spec.ranges, networks.gateway_of(spec))
    subnet = subnets.subnet_of(spec.subnet)
    first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address)
    every = (socket.inet_ntoa(number.to_bytes(4)) for number in range(first, last))
    return "".join(_SIGN[states.get(ip, LeaseState.FREE if ip in may else LeaseState.OUTSIDE)] for ip in every)


def _rows(network: Network, spec: NetworkSpec) -> list[LeaseFacts]:
    """What of a network is not free, by address: what is lent before all else."""
    found = {
        each.ip: LeaseFacts(address=each.ip, state=LeaseState.RESERVED, mac=each.mac, owner=each.owner, name=each.name)
        for each in ReservedAddress.objects.filter(network=spec.id)
    }
    for rested in _resting(network, spec):
        found[rested.ip] = LeaseFacts(address=rested.ip, state=LeaseState.RESTING, until=rested.released_at + network.cooldown_s)
    for taken in _taken(spec):
        found[taken.ip] = LeaseFacts(address=taken.ip, state=LeaseState.TAKEN, mac=taken.mac, since=taken.seen_at, until=taken.seen_at + leases.TAKEN_S)
    for row in _lent(spec):
        found[row.ip] = LeaseFacts(address=row.ip, state=LeaseState.LENT, mac=row.mac, instance=row.instance, name=row.name, since=row.lent_at)
    return sorted(found.values(), key=lambda each: socket.inet_aton(each.address))


def _seen(office: Office, spec: NetworkSpec, rows: Sequence[LeaseFacts]) -> list[LeaseFacts]:
    """With when each was seen last, as far as this host sees its network."""
    network = office.agent.settings.network
    try:
        seen = office.edge.seen(leases.unserved(network, spec))
    except Trouble as e:
        _log.info("who is in a network cannot be seen", network=spec.id, why=str(e))
        return list(rows)
    at = {(each.ip, each.mac): each.at for each in seen}
    return [each.model_copy(update={"seen_at": at.get((each.address, each.mac), 0.0)}) if each.instance else each for each in rows]
