"""What reaches an instance, for the verbs of several nouns: rules as texts, and how forwards and rules are printed."""

from __future__ import annotations

import re
from typing import Any

from luhyaapi.errors import Refused

_SPAN = re.compile(r"([0-9]{1,6})\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HAVE_PORTS = ("tcp", "udp")

Rule = dict[str, str]


def seconds(text: str) -> int:
    """Seconds of ``90m``, ``2h`` or ``7d``. Raises Refused(invalid)."""
    found = _SPAN.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise Refused("invalid", f"{text[:40]!r} is no span of time", "give a whole number with s, m, h or d, for example 2h")
    return int(found[1]) * _SECONDS[found[2]]


def rule(text: str) -> Rule:
    """``tcp:22:10.0.0.0/8``, ``udp:5000-5010``, ``icmp`` or ``any:2001:db8::/32`` in its parts; the cloud checks them."""
    protocol, _, rest = text.strip().partition(":")
    if protocol in _HAVE_PORTS:
        ports, _, source = rest.partition(":")
        return {"protocol": protocol, "ports": ports, "source": source}
    return {"protocol": protocol, "ports": "", "source": rest}


def line(found: Rule) -> str:
    """The text of a rule that :func:`rule` reads."""
    return ":".join(part for part in (found.get("protocol"), found.get("ports"), found.get("source")) if part)


def where(forward: dict[str, Any]) -> str:
    """Where a forward is reached; what keeps it from that; an empty text when nobody knows yet."""
    if forward.get("port"):
        return f"{forward.get('address')}:{forward['port']}"
    return str((forward.get("error") or {}).get("what") or "")


def fields(reached: dict[str, Any]) -> dict[str, Any]:
    """What leads to an instance, as fields of its table."""
    shown: dict[str, Any] = {}
    if reached.get("elastic"):
        shown["public address"] = reached["elastic"]
    for each in reached.get("forwards") or []:
        until = f", until {each['until']}" if each.get("until") else ""
        shown[f"forward {each.get('guest_port')}/{each.get('protocol')}"] = f"{where(each) or 'not known yet'}{until}"
    if reached.get("rules"):
        shown["lets in"] = " ".join(map(line, reached["rules"]))
    for group in reached.get("groups") or []:
        shown[f"group {group.get('name')}"] = " ".join(map(line, group.get("rules") or [])) or "-"
    if reached.get("error"):
        shown["trouble"] = reached["error"].get("what")
    return shown
