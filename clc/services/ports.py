"""Which ports of a cluster are lent to lead to guests: those of its settings, until an administrator says others."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings

from clc.services import events, plans, pools
from clc.services.own import own
from clc.services.pictures import board
from luhyaapi.contracts.commands import NetworksSet
from luhyaapi.contracts.vocabulary import HostState
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, Host

_SINCE = 3
"""The version of the word about networks that names ports."""
_PORTS = range(1024, 65536)


def lend(account: Account, ident: str, text: str) -> Host:
    """Have a cluster lend these ports, ``first-last``, from now on; empty: those of its settings. What is lent stays lent until it is closed.

    Raises Refused(forbidden | not_found | invalid | conflict | state).
    """
    scope.require_admin(account)
    first, last = _ends(text) if text.strip() else (0, 0)
    with memory.atomic():
        cluster = pools.cluster(account, ident)
        if cluster.speaks.get(NetworksSet.kind, 0) < _SINCE:
            raise Refused("state", "The cluster cannot lend other ports yet", f"{cluster.name} runs an older version", hint="Update it first.")
        for what, port, end in _used(cluster):
            if first <= end and port <= last:
                raise Refused("conflict", "These ports are not all free to be lent", f"{what}: {port}" + (f"-{end}" if end > port else ""), field="ports")
        before = plans.set_ports(cluster, first, last)
        events.record("host", cluster.pk, "ports of the cluster changed", owner=account, host=cluster.pk, first=first, last=last,
                      before={"ports": list(before)}, after={"ports": [first, last]})
    return cluster


def _ends(text: str) -> tuple[int, int]:
    pieces = [piece.strip() for piece in text.split("-")]
    if len(pieces) != 2 or not all(piece.isascii() and piece.isdigit() and len(piece) < 6 for piece in pieces):
        raise Refused("invalid", "A range cannot be read", f"{text[:60]!r}: give first-last", field="ports")
    first, last = map(int, pieces)
    if first not in _PORTS or last not in _PORTS or first > last:
        raise Refused("invalid", "The ports are not possible", f"{_PORTS[0]} to {_PORTS[-1]} is possible", field="ports")
    return first, last


def _used(cluster: Host) -> list[tuple[str, int, int]]:
    """What on the cluster's machine has ports, as far as is known here: displays, doors of hosts, the console."""
    facts = board().read([f"host:{cluster.pk}"]).get(f"host:{cluster.pk}", {})
    found = [("a display", each["first"], each["last"]) for each in facts.get("pools", ()) if each["pool"] == "displays"]
    machine, _port = _door(cluster)
    there = [host for host in Host.objects.exclude(state=HostState.RETIRED).exclude(address="") if _door(host)[0] == machine]
    found += [(f"the host {host.name}", port, port) for host in there if (port := _door(host)[1])]
    ours = settings.EDUCLOUD
    if machine == ours.host.address:
        found.append(("the console", ours.console.port, ours.console.port))
        me = f"the host {Host.objects.values_list('name', flat=True).get(pk=own().id)}"
        found += [(me, port, port) for port in (ours.host.door_port, ours.host.stream_port, ours.broker.port)]
    return found


def _door(host: Host) -> tuple[str, int]:
    """Where a host is reached: its machine and port; 0 where that cannot be read."""
    parts = urlsplit(host.address)
    try:
        port = parts.port
    except ValueError:
        port = None
    return parts.hostname or "", port or 0
