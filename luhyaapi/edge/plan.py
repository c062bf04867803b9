"""What the packet rules of one host shall be, as one frozen value, and the rules between its fields."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import Allow, Ipv4, Mac
from luhyaapi.contracts.vocabulary import Allowed, Protocol
from luhyaapi.errors import Refused
from luhyaapi.subnets import link_local

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
# A star at the end of a link's name would be a wildcard to nftables, a plus to iptables.
Link = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")]
Name = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9-]{0,12}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
METADATA, METADATA_PORT = "169.254.169.254", 80
"""Where a guest asks about itself."""
METADATA_MAC = "02:00:a9:fe:a9:fe"
"""Of that address on every bridge of every host: no frame that bears it leaves its host."""
ANY_LINK_LOCAL = ipaddress.IPv6Network("fe80::/64")


class Forward(Model):
    """``address``:``port`` of this host leads to ``to``:``to_port``, for ``sources`` (IPv4 CIDRs; none: for anyone).

    Who is reached sees who asks, when its answers come by this host anyway: from a segment whose gateway this is, asked from outside
    of it. Else it sees this host.
    """

    protocol: Protocol
    address: Ipv4
    port: Port
    to: Ipv4
    to_port: Port
    sources: tuple[str, ...] = ()


class Alias(Model):
    """An elastic address: all that comes for ``address`` goes to ``to``, and what ``to`` begins goes out as ``address``.

    It is a way and no permission: what comes by it is judged by what the card allows.
    """

    address: Ipv4
    to: Ipv4


class Segment(Model):
    """Guests behind one bridge of this host.

    ``subnets``: IPv4 and IPv6 CIDRs. ``gateway``: this host is their only router, so what comes from outside comes through it and not
    over the bridge; nothing of it reaches an address that no card allows it. ``routers``: addresses of the subnets, or link-local ones, that
    are no guest's, such as a gateway on another host; they count as outside. ``judged``: those routers judge all that comes from outside, so it is not
    judged here again. Of a host that is gateway, or has judged guests, these reach no door: only DHCP, DNS and ping of their gateway.
    ``way_out``: guests reach what lies behind the uplinks, under the host's address (IPv6: only unique local addresses are translated);
    otherwise only those with an alias do. ``talk``: guests may reach each other. ``shared``: others than our guests have addresses of
    the subnets too, so whoever is there is judged as one from outside; only a DHCP server is always heard.
    ``metadata``: what its cards send to 169.254.169.254, port 80 of TCP, goes to the link :func:`metadata_link` of the bridge, at whatever
    router's MAC; nothing else reaches that link, and nobody else has that address.
    """

    name: Name
    bridge: Link
    subnets: tuple[str, ...] = Field(min_length=1)
    gateway: bool = False
    judged: bool = False
    routers: tuple[str, ...] = ()
    way_out: bool = True
    talk: bool = True
    shared: bool = False
    metadata: bool = False


class Card(Model):
    """A guest's card by its ``tap``, which need not be there yet; empty: it is on another host, whose rules guard it.

    ``addresses``: IPv4 and IPv6, without prefix.
    """

    tap: Link | Literal[""]
    mac: Mac
    addresses: tuple[str, ...] = Field(min_length=1)
    segment: Name
    allow: tuple[Allow, ...] = ()


class RulesPlan(Model):
    """All rules of one host that bear one ``name``. ``uplinks``: links behind which the outside lies.

    ``inner``: links behind which hosts lie that forwards lead to; nothing but those forwards passes from there or to there.
    """

    name: Name
    uplinks: tuple[Link, ...] = ()
    inner: tuple[Link, ...] = ()
    segments: tuple[Segment, ...] = ()
    forwards: tuple[Forward, ...] = ()
    aliases: tuple[Alias, ...] = ()
    cards: tuple[Card, ...] = ()


Key = tuple[str, str, int]


def key(forward: Forward) -> Key:
    """By what a forward is told from all others: protocol, address, port."""
    return forward.protocol, forward.address, forward.port


def metadata_link(bridge: str) -> str:
    """The port of a bridge behind which the metadata service of this host answers: told from its name, which may be as long as a link's."""
    return f"em{hashlib.blake2s(bridge.encode(), digest_size=6).hexdigest()}"


def both(ip: str, ip6: str) -> tuple[str, ...]:
    """What there is of IPv4 and of IPv6."""
    return (ip, ip6) if ip6 else (ip,)


def owned(card: Card) -> set[Address]:
    """The addresses it may send from: its own, and the link-local one of its MAC."""
    return {*map(address, card.addresses), address(link_local(card.mac))}


@dataclass(frozen=True)
class Taken:
    """Addresses that no forward can have: those of ``guests``, and the ``elastic`` ones."""

    guests: Collection[str] = ()
    elastic: Collection[str] = ()


def check(plan: RulesPlan) -> Taken:
    """Raises Refused(invalid) naming the first broken rule between the fields of a plan."""
    guests = _check_cards(plan, _check_segments(plan))
    taken = Taken(guests, _check_aliases(plan.aliases, guests))
    seen: set[Key] = set()
    for forward in plan.forwards:
        check_forward(forward, taken)
        if (known := key(forward)) in seen:
            raise _invalid(f"{forward.protocol} {forward.address}:{forward.port} is forwarded twice")
        seen.add(known)
    return taken


def check_forward(forward: Forward, taken: Taken) -> None:
    """One forward beside what else the plan has; raises as :func:`check`."""
    _host(forward.address)
    _host(forward.to)
    if forward.address in taken.guests:
        raise _invalid(f"{forward.address} is a guest's and cannot be forwarded")
    if forward.address in taken.elastic:
        raise _invalid(f"{forward.address} is elastic: all of it leads to one guest already")
    for text in forward.sources:
        if subnet(text).version != 4:
            raise _invalid(f"{text} cannot ask for {forward.address}: it is not IPv4")


def is_limited(forward: Forward) -> bool:
    """Whether not everybody may use it."""
    return bool(forward.sources) and all(subnet(text).prefixlen for text in forward.sources)


def collapsed(texts: Iterable[str]) -> list[str]:
    """CIDRs of one family of IP without those that others contain."""
    return [str(net) for net in ipaddress.collapse_addresses(map(subnet, texts))]  # type: ignore[type-var]


@functools.lru_cache(maxsize=65536)
def address(text: str) -> Address:
    """A parsed address. Raises Refused(invalid)."""
    _no_zone(text)
    try:
        return ipaddress.ip_address(text)
    except ValueError as e:
        raise _invalid(str(e)) from e


@functools.lru_cache(maxsize=4096)
def subnet(text: str) -> Subnet:
    """A parsed CIDR without bits behind its prefix. Raises Refused(invalid)."""
    _no_zone(text)
    try:
        return ipaddress.ip_network(text)
    except ValueError as e:
        raise _invalid(str(e)) from e


def _no_zone(text: str) -> None:
    """A zone (fe80::1%eth0) may be any text for Python, also commands for the program that is told the address."""
    if "%" in text:
        raise _invalid(f"{text!r} has a zone")


def _check_segments(plan: RulesPlan) -> dict[str, list[Subnet]]:
    found: dict[str, list[Subnet]] = {}
    names: set[str] = set()
    bridges: set[str] = set()
    before: list[Subnet] = []
    for segment in plan.segments:
        _once(names, segment.name, f"there are two segments {segment.name}")
        _once(bridges, segment.bridge, f"the bridge {segment.bridge} has two segments")
        found[segment.name] = mine = [subnet(text) for text in segment.subnets]
        for new in mine:
            for old in before:
                if new.version == old.version and new.overlaps(old):
                    raise _invalid(f"the subnets {old} and {new} overlap")
            before.append(new)
        if segment.gateway and segment.routers:
            raise _invalid(f"the gateway of {segment.name} is here and elsewhere")
        if segment.shared and (segment.gateway or segment.judged):
            raise _invalid(f"what comes to {segment.name} by its bridge is not judged, and others are there")
        for text in segment.routers:
            _belongs(address(text), mine, segment.name)
    return found


def _check_cards(plan: RulesPlan, subnets: dict[str, list[Subnet]]) -> set[str]:
    """The addresses of all cards."""
    links = {segment.bridge for segment in plan.segments} | set(plan.uplinks)
    links |= {metadata_link(segment.bridge) for segment in plan.segments if segment.metadata}
    macs: set[str] = {METADATA_MAC}
    guests: set[Address] = {address(METADATA), *(address(text) for segment in plan.segments for text in segment.routers)}
    for card in plan.cards:
        if card.tap:
            _once(links, card.tap, f"the link {card.tap} has two uses")
        _once(macs, card.mac, f"the address {card.mac} is on two cards")
        if int(card.mac[:2], 16) & 1:
            raise _invalid(f"{card.mac} of {card.tap} is a group address")
        if card.segment not in subnets:
            raise _invalid(f"there is no segment {card.segment} for {card.tap}")
        for one in map(address, card.addresses):
            _once(guests, one, f"{one} of {card.tap} is taken")
            _belongs(one, subnets[card.segment], card.segment)
        for allow in card.allow:
            _check_allow(allow)
    return {str(address(text)) for card in plan.cards for text in card.addresses}


def _check_allow(allow: Allow) -> None:
    subnet(allow.source)
    if allow.protocol in (Allowed.TCP, Allowed.UDP):
        if not 1 <= allow.first_port <= allow.last_port:
            raise _invalid(f"{allow.first_port} to {allow.last_port} are no ports")
    elif allow.first_port or allow.last_port:
        raise _invalid(f"{allow.protocol} has no ports")


def _check_aliases(aliases: Iterable[Alias], guests: Collection[str]) -> set[str]:
    """The elastic addresses."""
    elastic: set[str] = set()
    behind: set[str] = set()
    for alias in aliases:
        for text in (alias.address, alias.to):
            _host(text)
        if alias.address in guests:
            raise _invalid(f"{alias.address} is a guest's and cannot be elastic")
        _once(elastic, alias.address, f"{alias.address} is elastic twice")
        _once(behind, alias.to, f"{alias.to} has two elastic addresses")
    if both := elastic & behind:
        raise _invalid(f"{min(both)} is elastic and behind an elastic address")
    return elastic


def _belongs(one: Address, subnets: Iterable[Subnet], segment: str) -> None:
    if one in ANY_LINK_LOCAL:
        return
    if not any(one in each for each in subnets):
        raise _invalid(f"{one} is not of the segment {segment}")
    if any(one in (each.network_address, each.broadcast_address) for each in subnets if each.version == 4 and each.prefixlen < 31):
        raise _invalid(f"{one} is no host's address in the segment {segment}")


@functools.lru_cache(maxsize=65536)
def _host(text: str) -> None:
    one = address(text)
    # Loopback is refused because the kernel drops what leaves a host with such an address.
    if one.is_loopback or one.is_multicast or one.is_unspecified or one.is_reserved:
        raise _invalid(f"{one} is no host's address")


def _once(seen: set[Any], value: object, why: str) -> None:
    if value in seen:
        raise _invalid(why)
    seen.add(value)


def _invalid(why: str) -> Refused:
    return Refused("invalid", "The rules of the network are not valid", why)
