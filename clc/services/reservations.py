"""Addresses that are lent to nobody by chance, one by one or from an ethers file: the only writer of Reservation."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db.models import QuerySet

from clc.services import events, plans, pools
from clc.services.pools import Pool
from luhyaapi import clock, subnets
from luhyaapi.contracts.commands import NetworksSet
from luhyaapi.contracts.specs import RESERVATIONS
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, Host, Instance, Network, Reservation

_SINCE = 3
"""The version of the word about networks that names reservations."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TOLD = 10
_FIELDS = 2


@dataclass(frozen=True)
class Ask:
    """An address that shall be reserved. ``name``: for the instance called so; ``owner``: a user name, whose instance gets it.

    Left out with a ``name``, it is the owner of the one instance there is of that name. Without both it is no instance's.
    """

    address: str
    mac: str = ""
    owner: str = ""
    name: str = ""


@dataclass
class _Desk:
    """What is known while reservations of a network are made: those of its cluster, and by address the name and owner of who has it."""

    pool: Pool
    lent: dict[str, tuple[str, str]]
    lendable: Iterator[str]
    rows: dict[str, Reservation] = field(default_factory=dict)
    macs: dict[str, Reservation] = field(default_factory=dict)
    owners: dict[tuple[str, str], Account | None] = field(default_factory=dict)
    made: list[Reservation] = field(default_factory=list)

    def knows(self, row: Reservation) -> None:
        """It is there: no other has its address or its MAC."""
        self.rows[row.address] = row
        if row.mac:
            self.macs[row.mac] = row


def add(account: Account, ident: str, ask: Ask) -> Reservation:
    """Reserve an address. Raises Refused(forbidden | not_found | invalid | exists | conflict | quota | state)."""
    with memory.atomic():
        desk = _desk(account, ident)
        row = _made(desk, ask)
        _keep(account, desk)
    return row


def bring_in(account: Account, ident: str, text: str, owner: str = "") -> list[Reservation]:
    """Reserve what the lines of an ethers file say, ``MAC ADDRESS`` or ``MAC NAME`` of an instance, for ``owner``: all of them or none.

    What is reserved so already stays. Raises as :func:`add`, naming the lines.
    """
    with memory.atomic():
        desk = _desk(account, ident)
        wrong: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                _line(desk, line.partition("#")[0].split(), owner)
            except Refused as e:
                if e.code in ("quota", "state"):
                    raise
                wrong.append(f"line {number}: {e.what}: {e.why}" if e.why else f"line {number}: {e.what}")
        if wrong:
            more = [f"and {len(wrong) - _TOLD} more"] if len(wrong) > _TOLD else []
            raise Refused("invalid", "Lines of the file cannot be taken", "; ".join(wrong[:_TOLD] + more), field="ethers",
                          hint="Correct them and bring in the whole file again: nothing of it was reserved.")
        if desk.made:
            _keep(account, desk)
    return desk.made


def remove(account: Account, ident: str, address: str) -> Reservation:
    """Reserve an address no more; who has it keeps it. Raises Refused(forbidden | not_found)."""
    with memory.atomic():
        pool = pools.resolve(account, ident)
        plan = plans.alone(pool.cluster)
        row = of(pool).filter(address=address).first()
        if row is None:
            raise Refused("not_found", f"{address[:40]!r} is not reserved", f"not in {pool.name}", field="address")
        Reservation.objects.filter(pk=row.pk).delete()
        events.record("network", pool.ident, "address reserved no more", owner=account, name=pool.name, address=row.address)
        plans.tell(pool.cluster, plan)
    return row


def of(pool: Pool) -> QuerySet[Reservation]:
    """What is reserved of a network."""
    return Reservation.objects.filter(cluster=pool.cluster, network=pool.network)


def forget_network(row: Network) -> None:
    """A network is given up: nothing of it is reserved. In a transaction of the caller's, who tells the cluster."""
    Reservation.objects.filter(network=row).delete()


def hand_over(of: Account, to: Account) -> None:
    """What is reserved for somebody is so for somebody else from now on. In a transaction."""
    for cluster in Host.objects.filter(pk__in=Reservation.objects.filter(owner=of).values("cluster")):
        plan = plans.alone(cluster)
        Reservation.objects.filter(owner=of, cluster=cluster).update(owner=to)
        plans.tell(cluster, plan)


def forget_owner(account: Account) -> None:
    """Somebody is no more: what was reserved for him is not. In a transaction of the caller's."""
    rows = Reservation.objects.filter(owner=account)
    for cluster in Host.objects.filter(pk__in=rows.values("cluster")):
        plan = plans.alone(cluster)
        Reservation.objects.filter(owner=account, cluster=cluster).delete()
        plans.tell(cluster, plan)


def _desk(account: Account, ident: str) -> _Desk:
    pool = pools.resolve(account, ident)
    if pool.cluster.speaks.get(NetworksSet.kind, 0) < _SINCE:
        raise Refused("state", "The cluster cannot reserve addresses yet", f"{pool.cluster.name} runs an older version", hint="Update it first.")
    plans.alone(pool.cluster)
    held = Instance.objects.filter(cluster=pool.cluster.pk).exclude(state=InstanceState.DELETED).values_list("name", "owner__username", "nics")
    lent = {nic.get("ip", ""): (name, owner) for name, owner, nics in held for nic in nics if nic.get("network") == pool.id}
    desk = _Desk(pool, lent, _lendable(pool))
    for row in Reservation.objects.filter(cluster=pool.cluster).select_related("owner"):
        desk.knows(row)
    return desk


def _keep(account: Account, desk: _Desk) -> None:
    Reservation.objects.bulk_create(desk.made)
    pool, first = desk.pool, desk.made[0]
    events.record("network", pool.ident, "addresses reserved", owner=account, name=pool.name, count=len(desk.made), first=first.address)
    plans.tell(pool.cluster, plans.alone(pool.cluster))


def _line(desk: _Desk, words: list[str], owner: str) -> None:
    """One line of an ethers file; an empty one says nothing."""
    if not words:
        return
    if len(words) != _FIELDS:
        raise Refused("invalid", "it is no line of an ethers file", "give a MAC, and an address or the name of an instance")
    mac, target = _mac(words[0]), words[1]
    try:
        ipaddress.IPv4Address(target)
        ask = Ask(target, mac, owner)
    except ValueError:
        if (there := desk.macs.get(mac)) and there.name == target:
            return
        ask = Ask(_next(desk), mac, owner, target)
    if not _is_same(desk.rows.get(ask.address), ask):
        _made(desk, ask)


def _is_same(row: Reservation | None, ask: Ask) -> bool:
    if row is None or (row.mac or "", row.name) != (ask.mac, ask.name):
        return False
    return (row.owner.username if row.owner else "") == ask.owner


def _next(desk: _Desk) -> str:
    """The lowest address of its ranges that nobody has and nothing is reserved for."""
    for address in desk.lendable:
        if address not in desk.rows and address not in desk.lent:
            return address
    raise Refused("quota", "No address is free", f"all of {desk.pool.name} are lent or reserved")


def _lendable(pool: Pool) -> Iterator[str]:
    ends = [[int(ipaddress.IPv4Address(end)) for end in each] for each in pool.ranges]
    for text in subnets.addresses(pool.subnet):
        number = int(ipaddress.IPv4Address(text))
        if text != pool.gateway and (not ends or any(first <= number <= last for first, last in ends)):
            yield text


def _made(desk: _Desk, ask: Ask) -> Reservation:
    pool, mac = desk.pool, _mac(ask.mac) if ask.mac else ""
    address = _address(pool, ask.address)
    owner = _owner_at(desk, ask)
    if taken := desk.rows.get(address):
        raise Refused("exists", f"{address} is reserved already", _for_whom(taken), field="address")
    if mac:
        _check_mac(desk, mac, address)
    holder = desk.lent.get(address)
    if holder and (owner is None or holder[1] != owner.username or ask.name not in ("", holder[0])):
        raise Refused("conflict", f"{address} is lent", f"{holder[0]} of {holder[1]} has it", field="address",
                      hint="Delete that instance first, or reserve the address for it.")
    row = Reservation(
        cluster=pool.cluster, network=pool.network, address=address, number=int(ipaddress.IPv4Address(address)), mac=mac or None, owner=owner,
        name=ask.name, created_at=clock.now(),
    )
    desk.knows(row)
    desk.made.append(row)
    if len(desk.rows) > RESERVATIONS:
        raise Refused("quota", "The cluster would have too many reservations", f"at most {RESERVATIONS}",
                      hint="Bring in less, or give up what nobody needs reserved.")
    return row


def _address(pool: Pool, text: str) -> str:
    try:
        one = ipaddress.IPv4Address(text)
    except ValueError as e:
        raise Refused("invalid", "The address cannot be read", f"{text[:40]!r}: give an IPv4 address", field="address") from e
    if not pool.has(one):
        why = "it is the gateway's" if str(one) == pool.gateway else f"it is no host's address of {pool.subnet}"
        raise Refused("invalid", f"{one} cannot be reserved", why, field="address")
    return str(one)


def _mac(text: str) -> str:
    """With colons and two digits each, in lower case."""
    pieces = re.split("[:-]", text)
    if len(pieces) != 6 or not all(re.fullmatch("[0-9A-Fa-f]{1,2}", each) for each in pieces):
        raise Refused("invalid", "The MAC cannot be read", f"{text[:40]!r}: give six pairs of digits with colons", field="mac")
    mac = ":".join(f"{int(each, 16):02x}" for each in pieces)
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise Refused("invalid", f"{mac} is no card's MAC", "it is that of a group, or nobody's", field="mac")
    return mac


def _check_mac(desk: _Desk, mac: str, address: str) -> None:
    if taken := desk.macs.get(mac):
        raise Refused("exists", f"{mac} is reserved already", f"with {taken.address}", field="mac")
    ours = subnets.mac_of(desk.pool.cluster.pk, address)
    if mac != ours and mac[:5] == ours[:5]:
        raise Refused("conflict", f"{mac} is the cluster's to give", "it belongs to another address", field="mac", hint="Leave the MAC out.")


def _owner_at(desk: _Desk, ask: Ask) -> Account | None:
    """Asked for once, not with each line of a file."""
    asked = (ask.owner, ask.name)
    if asked not in desk.owners:
        desk.owners[asked] = _owner(ask)
    return desk.owners[asked]


def _owner(ask: Ask) -> Account | None:
    if ask.name and not _NAME.fullmatch(ask.name):
        raise Refused("invalid", "The name is not possible", f"{ask.name[:40]!r} is no instance's", field="name")
    if ask.owner:
        found = Account.objects.filter(username=ask.owner, is_active=True).first()
        if found is None:
            raise Refused("not_found", f"There is no user {ask.owner[:63]!r}", field="owner")
        return found
    if not ask.name:
        return None
    rows = Instance.objects.filter(live_name=ask.name).select_related("owner")[:2]
    if len(rows) != 1:
        why = "several instances are called so" if rows else "no instance is called so"
        raise Refused("invalid", f"Whose {ask.name} is meant is not clear", why, field="owner", hint="Say whose: the user name of its owner.")
    return rows[0].owner


def _for_whom(row: Reservation) -> str:
    if row.owner:
        return f"for {row.name} of {row.owner.username}" if row.name else f"for instances of {row.owner.username}"
    return f"for {row.mac}" if row.mac else "for nobody"
