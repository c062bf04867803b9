"""Samples of networks, of what is lent of them, and of what is reserved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from clc.services import usage_map
from luhyaapi.contracts.vocabulary import LeaseState, NetworkMode
from luhyaapi.subnets import subnet_of

_AT = "2027-01-15T08:00:00.000Z"
POOL: Any = SimpleNamespace(ident="net-00000001", name="class-7", subnet=subnet_of("10.40.0.0/24"))
_COUNTS = {"size": 100, "free": 20, "lent": 71, "resting": 4, "reserved": 3, "taken": 2, "first": 20000, "last": 20099}
NETWORK: dict[str, Any] = {
    "id": "net-00000001", "name": "class-7", "mode": NetworkMode.CLOSED, "cluster": "cc-77aa10b2", "cluster_name": "cc-01", "number": 1,
    "subnet": "10.40.0.0/24", "gateway": "10.40.0.1", "ranges": ["10.40.0.100-10.40.0.199"], "macs": "02:5a:0a:28:00:02-02:5a:0a:28:00:fe",
    "way_out": False, "isolated": True, "addresses": 100, "instances": 71, "pool": _COUNTS, "ports": [], "created_at": _AT,
}
_PORTS = [_COUNTS | {"pool": "ports"}, _COUNTS | {"pool": "displays"}]
OWN = NETWORK | {"id": "cc-77aa10b2", "name": "default", "ranges": [], "created_at": None, "ports": _PORTS}


def _lease(number: int, state: LeaseState, **more: Any) -> dict[str, Any]:
    return {"address": f"10.40.0.{number}", "state": state, "mac": f"02:5a:0a:28:00:{number:02x}", "instance": None, "name": "", "owner": "", "since": None,
            "until": None, "seen_at": None, **more}


LEASES = [
    _lease(2, LeaseState.LENT, instance="ins-3fa21c01", name="physics-lab-301", owner="student-07", since=_AT, seen_at=_AT),
    _lease(3, LeaseState.RESTING, mac="", until=_AT), _lease(4, LeaseState.RESERVED, name="web-server", owner="student-07"),
    _lease(5, LeaseState.TAKEN, since=_AT, until=_AT), _lease(6, LeaseState.RESERVED),
]
_USAGE = "g" + "o" * 98 + "l" * 40 + "rrr" + "l" * 31 + "cccc" + "tt" + "f" * 20 + "o" * 55
MAP = usage_map.drawn(POOL.subnet, _USAGE)
LARGE_MAP = usage_map.drawn(subnet_of("10.50.0.0/16"), "g" + "l" * 9000 + "tlrc" * 100 + "f" * 56133)


def _reservation(number: int, mac: str | None, owner: str, name: str) -> Any:
    return SimpleNamespace(address=f"10.40.0.{number}", mac=mac, owner=SimpleNamespace(username=owner) if owner else None, name=name)


ROWS = [_reservation(9, "00:16:3e:00:00:01", "student-07", "web-server"), _reservation(10, "00:16:3e:00:00:02", "", ""), _reservation(11, None, "", "")]
