"""Samples of what leads to machines: forwards, rules, groups, public addresses."""

from __future__ import annotations

from typing import Any

from luhyaapi.contracts.vocabulary import AddressState, Protocol
from luhyaapi.errors import CODES

_AT = 1_800_000_000.0
_RULES = ["tcp:22:10.0.0.0/8", "udp:5000-5010:0.0.0.0/0", "icmp:0.0.0.0/0", "any:2001:db8::/32", "tcp:80:0.0.0.0/0", "tcp:443:0.0.0.0/0"]
GROUPS: list[dict[str, Any]] = [
    {"id": "sgr-0000000a", "name": "web", "owner": "admin", "rules": _RULES, "instances": 3, "created_at": _AT, "changed_at": _AT},
    {"id": "sgr-0000000b", "name": "closed", "owner": "student-07", "rules": [], "instances": 0, "created_at": _AT, "changed_at": _AT},
]
CLUSTERS = [{"id": "cc-77aa10b2", "name": "cc-01"}, {"id": "cc-77aa10b3", "name": "cc-02"}]


def _address(number: int, state: AddressState, owner: str | None = None, instance: str | None = None) -> dict[str, Any]:
    return {
        "id": f"eip-0000000{number}", "address": f"192.0.2.{number}", "state": state, "cluster": "cc-77aa10b2", "cluster_name": "cc-01", "owner": owner,
        "instance": instance, "instance_name": "physics-lab-301" if instance else None, "created_at": _AT,
    }


ADDRESSES = [
    _address(1, AddressState.FREE), _address(2, AddressState.RESTING), _address(3, AddressState.ALLOCATED, "student-07"),
    _address(4, AddressState.ASSOCIATED, "student-07", "ins-3fa21c01"),
]


def _forward(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"fwd-0000000{number}", "protocol": Protocol.TCP, "guest_port": 80 + number, "sources": [], "address": None, "port": None,
            "until": None, "error": None, **more}


_FULL = {"code": "quota", "what": "No port is free", "why": "", "hint": CODES["quota"].hint}
_SPANS = [{"seconds": 3600, "n": 1, "in_days": False}, {"seconds": 604_800, "n": 7, "in_days": True}]
_NOTHING: dict[str, Any] = {"forwards": [], "rules": [], "groups": [], "group_ids": [], "elastic": None, "pending": False, "error": None}
REACHED: dict[str, Any] = {"reached": _NOTHING, "own_groups": [], "spans": _SPANS, "free_addresses": ADDRESSES[2:3]}
OPENED: dict[str, Any] = {
    "reached": {
        "forwards": [
            _forward(1), _forward(2, address="192.0.2.99", port=40000, until=_AT, sources=["10.0.0.0/8", "192.168.0.0/16"], protocol=Protocol.UDP),
            _forward(3, error=_FULL),
        ],
        "rules": _RULES, "groups": GROUPS, "group_ids": ["sgr-0000000a"], "elastic": "192.0.2.4", "pending": True, "error": _FULL,
    },
    "own_groups": GROUPS, "spans": _SPANS, "free_addresses": [],
}
