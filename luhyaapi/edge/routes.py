"""Where the outside lies: the links of a host's default routes."""

from __future__ import annotations

import json

from luhyaapi.errors import Failed
from luhyaapi.process import run

_S = 10.0


def outside(namespace: str = "") -> tuple[str, ...]:
    """The links of the IPv4 default routes, in order of preference; none on a host without one. Raises Failed(network).

    ``namespace`` names a network namespace (``ip netns``); empty is our own.
    """
    done = run(["ip", *(["-n", namespace] if namespace else []), "-4", "-json", "route", "show", "default"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The routes of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    routes = sorted(json.loads(done.stdout or b"[]"), key=lambda route: route.get("metric", 0))
    hops = [hop for route in routes for hop in route.get("nexthops", [route])]
    return tuple(dict.fromkeys(hop["dev"] for hop in hops if "dev" in hop))
