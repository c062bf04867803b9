"""What a cluster lends to guests, as maths: display ports, the next free one and when there is one."""

from __future__ import annotations

import math
from collections.abc import Collection

from luhyaapi import clock
from luhyaapi.conf import Network
from luhyaapi.contracts.specs import Forward
from luhyaapi.errors import Refused

_PORTS = range(1024, 65536)


def ports(first: int, count: int) -> range:
    """The display ports that may be lent. Raises Refused(invalid) when they are not all ordinary ports."""
    if count < 1 or first not in _PORTS or first + count - 1 not in _PORTS:
        raise Refused("invalid", "The display ports are not valid", f"{count} from {first}; {_PORTS[0]} to {_PORTS[-1]} is possible")
    return range(first, first + count)


def forwards(network: Network, display_port: int) -> tuple[Forward, ...]:
    """How the forwarded ports of the guest with that display port are reached; no two guests share one. Raises Refused(invalid)."""
    first = network.forward_first + (display_port - network.display_first) * len(network.forwarded)
    if network.forwarded and first + len(network.forwarded) - 1 not in _PORTS:
        raise Refused("invalid", "The forwarded ports are not valid", f"{first} is needed; {_PORTS[0]} to {_PORTS[-1]} is possible")
    return tuple(Forward(guest_port=guest, port=first + n) for n, guest in enumerate(network.forwarded))


def when_free(released_at: Collection[float], cooldown_s: float, otherwise: str) -> str:
    """When the first of those that rest is free again; ``otherwise`` where none rests."""
    if not released_at:
        return otherwise
    return f"The next is free in {max(math.ceil(min(released_at) + cooldown_s - clock.now()), 1)} s."
