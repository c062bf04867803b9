"""Whom this host heard on a link: the kernel's neighbours, by IPv4 address."""

from __future__ import annotations

import json
from dataclasses import dataclass

from luhyaapi import clock
from luhyaapi.errors import Failed
from luhyaapi.process import run

_S = 10.0


@dataclass(frozen=True)
class Seen:
    """Somebody with that address and MAC, ``at`` seconds since 1970, to about a minute."""

    ip: str
    mac: str
    at: float


def seen(link: str) -> tuple[Seen, ...]:
    """Everybody the kernel remembers there; whoever is silent for long is forgotten. Nobody on a link that is not there. Raises Failed(network)."""
    done = run(["ip", "-4", "-json", "-statistics", "neighbour", "show", "dev", link], timeout_s=_S, check=False)
    if done.code:
        if b"Cannot find device" in done.stderr:
            return ()
        raise Failed("network", f"The neighbours on {link} could not be read", done.stderr.decode("utf-8", "replace").strip())
    now = clock.now()
    # Whom the kernel only heard ask it has not confirmed: it dates that back by a minute.
    ages = [(each, min(each["confirmed"], each["updated"])) for each in json.loads(done.stdout or b"[]") if "lladdr" in each and "confirmed" in each]
    return tuple(Seen(each["dst"], each["lladdr"], now - age) for each, age in ages)
