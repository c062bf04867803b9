"""Security rules as people give them, as they are kept, and as a cluster is told them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luhyaapi import subnets
from luhyaapi.contracts.specs import Allow
from luhyaapi.contracts.vocabulary import Allowed
from luhyaapi.errors import Refused

AT_MOST = 64
ANYWHERE = "0.0.0.0/0"
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_HAVE_PORTS = (Allowed.TCP, Allowed.UDP)
Kept = dict[str, Any]
"""A rule as it is kept: the fields of an ``Allow``."""


def read(given: Sequence[Mapping[str, str]]) -> list[Kept]:
    """Rules of ``{protocol, ports, source}`` as they will be kept, each once. ``ports`` is ``a`` or ``a-b``; no ``source``: anywhere by IPv4.

    Raises Refused(invalid), Refused(quota) for more than ``AT_MOST``; the field is ``rules``.
    """
    kept = list({rule: None for each in given for rule in [_read(each)]})
    if len(kept) > AT_MOST:
        raise Refused("quota", "Too many rules", f"at most {AT_MOST}", field="rules")
    return [rule.model_dump(mode="json") for rule in kept]


def _read(given: Mapping[str, str]) -> Allow:
    protocol = str(given.get("protocol") or "")
    if protocol not in list(Allowed):
        raise Refused("invalid", "The protocol of a rule is not possible", f"give {', '.join(Allowed)}, not {protocol[:20]!r}", field="rules")
    first, last = _ports(Allowed(protocol), str(given.get("ports") or ""))
    return Allow(protocol=Allowed(protocol), first_port=first, last_port=last, source=_source(str(given.get("source") or ANYWHERE)))


def _ports(protocol: Allowed, text: str) -> tuple[int, int]:
    if protocol not in _HAVE_PORTS:
        if text:
            raise Refused("invalid", "A rule for that has no ports", f"{protocol}: leave {text[:20]!r} out", field="rules")
        return 0, 0
    found = _PORTS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise Refused("invalid", "The ports of a rule are not possible", f"{text[:20]!r}: give a port or first-last, of 1 to 65535", field="rules")
    return first, last


def _source(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError(text)  # a zone is of one host, and may be any text
        return str(ipaddress.ip_network(text))
    except ValueError as e:
        raise Refused("invalid", "The source of a rule cannot be read",
                      subnets.meant(text) or f"{text[:60]!r}: give addresses in CIDR, for example 10.0.0.0/8", field="rules") from e


def parse(text: str) -> dict[str, str]:
    """``tcp:22:10.0.0.0/8``, ``udp:5000-5010``, ``icmp`` or ``any:2001:db8::/32`` in its parts; :func:`read` checks them."""
    protocol, _, rest = text.strip().partition(":")
    if protocol in _HAVE_PORTS:
        ports, _, source = rest.partition(":")
        return {"protocol": protocol, "ports": ports, "source": source}
    return {"protocol": protocol, "ports": "", "source": rest}


def show(rule: Mapping[str, Any]) -> dict[str, str]:
    """A kept rule in its parts."""
    first, last = rule["first_port"], rule["last_port"]
    ports = "" if not first else str(first) if first == last else f"{first}-{last}"
    return {"protocol": str(rule["protocol"]), "ports": ports, "source": rule["source"]}


def line(rule: Mapping[str, str]) -> str:
    """Parts of a rule as one text that :func:`parse` reads."""
    return ":".join(part for part in (rule["protocol"], rule["ports"], rule["source"]) if part)


def together(several: Iterable[Sequence[Kept]]) -> tuple[Allow, ...]:
    """What all of these let in, each rule once."""
    return tuple(dict.fromkeys(Allow.model_validate(rule) for rules in several for rule in rules))
