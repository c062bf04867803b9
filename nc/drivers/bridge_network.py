"""Taps on the cluster's bridge of this node; never a libvirt network."""

from __future__ import annotations

import json
import re
from typing import Any

from luhyaapi import uplink as cards
from luhyaapi.contracts.specs import Nic
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run
from nc.drivers.base import tap_name

NETWORK = "default"
TIMEOUT_S = 10.0
_TAP = re.compile("^t([0-9a-f]{8})[0-9a-f]{6}$")


class BridgeNetwork:
    """The taps are made by the hypervisor as the guest starts, under the name :meth:`plug` answered, and end with it.

    The bridge gets no address here: on one host it is the CC's, elsewhere a wire to it. ``namespace`` names a network
    namespace (``ip netns``); empty is our own.
    """

    def __init__(self, bridge: str, namespace: str = "", uplink: str = "") -> None:
        if not re.fullmatch("[a-z][a-z0-9._-]{0,14}", bridge):
            raise Refused("invalid", f"{bridge!r} cannot be the name of a bridge", "1 to 15 of a-z 0-9 . _ -")
        self._bridge, self._uplink = bridge, uplink
        self._ip = ["ip", *(["-n", namespace] if namespace else [])]

    def plug(self, instance: str, nic: Nic) -> str:
        if nic.network != NETWORK:
            raise Refused("not_found", f"This node has no network {nic.network}")
        self._ensure_bridge()
        return tap_name(instance, nic.mac)

    def unplug(self, instance: str) -> None:
        for tap, owner in self.found().items():
            if owner == instance:
                self._delete(tap)

    def found(self) -> dict[str, str]:
        if self._link(self._bridge) is None:
            return {}
        names = (str(link["ifname"]) for link in self._links("master", self._bridge))
        return {name: f"ins-{match[1]}" for name in names if (match := _TAP.match(name))}

    def _ensure_bridge(self) -> None:
        link = self._link(self._bridge)
        if link is None:
            self._change("add", self._bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            link = self._link(self._bridge) or {}
        if link.get("linkinfo", {}).get("info_kind") != "bridge":
            raise Failed("network", f"{self._bridge} is not a bridge", "another link has that name")
        if "UP" not in link.get("flags", []):
            self._change("set", self._bridge, "up")
        if self._uplink:
            cards.attach(self._uplink, self._bridge, tuple(self._ip))

    def _delete(self, tap: str) -> None:
        try:
            self._change("delete", tap)
        except Failed:
            if self._link(tap) is not None:
                raise

    def _link(self, name: str) -> dict[str, Any] | None:
        found = run([*self._ip, "-json", "-details", "link", "show", "dev", name], timeout_s=TIMEOUT_S, check=False)
        if found.code == 0:
            return dict(json.loads(found.stdout)[0])
        if b"does not exist" in found.stderr:
            return None
        raise Failed("network", "The links of this host could not be read", found.stderr.decode("utf-8", "replace").strip())

    def _links(self, *which: str) -> list[dict[str, Any]]:
        found = run([*self._ip, "-json", "link", "show", *which], timeout_s=TIMEOUT_S, check=False)
        if found.code != 0:
            raise Failed("network", "The links of this host could not be read", found.stderr.decode("utf-8", "replace").strip())
        return [link for link in json.loads(found.stdout or b"[]") if link]

    def _change(self, *what: str) -> None:
        done = run([*self._ip, "link", *what], timeout_s=TIMEOUT_S, check=False)
        # somebody else made the same bridge at the same time: that is what was wanted
        if done.code != 0 and not (what[0] == "add" and b"File exists" in done.stderr):
            why = done.stderr.decode("utf-8", "replace").strip()
            raise Failed("network", f"The link {what[1]} could not be changed", why)
