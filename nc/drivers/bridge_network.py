"""Taps on the cluster's bridge of this node; never a libvirt network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from luhyaapi.conf import bridge_of
from luhyaapi.contracts.specs import Nic, SegmentSpan
from luhyaapi.edge import uplink as cards
from luhyaapi.edge import vxlan
from luhyaapi.edge.base import RulesDriver
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run
from nc.drivers import taps
from nc.drivers.base import tap_name

TIMEOUT_S = 10.0
_TAP = re.compile("^t([0-9a-f]{8})[0-9a-f]{6}$")


class BridgeNetwork:
    """The taps are made by the hypervisor as the guest starts, under the name :meth:`plug` answered, and end with it.

    Every network has its bridge, that of the settings the plain name. A bridge gets no address here: on one host it is the
    CC's, elsewhere a wire to it. ``namespace`` names a network namespace (``ip netns``); empty is our own.
    ``rules``: the packet rules of this host; None: nothing is guarded.
    """

    def __init__(self, bridge: str, namespace: str = "", uplink: str = "", rules: RulesDriver | None = None) -> None:
        if not re.fullmatch("[a-z][a-z0-9._-]{0,14}", bridge):
            raise Refused("invalid", f"{bridge!r} cannot be the name of a bridge", "1 to 15 of a-z 0-9 . _ -")
        self._bridge, self._uplink, self._rules = bridge, uplink, rules
        self._namespace = namespace
        self._ip = ["ip", *(["-n", namespace] if namespace else [])]

    def plug(self, instance: str, nic: Nic) -> str:
        self._ensure_bridge(nic.segment)
        return tap_name(instance, nic.mac)

    def unplug(self, instance: str) -> None:
        for tap, owner in self.found().items():
            if owner == instance:
                self._delete(tap)

    def found(self) -> dict[str, str]:
        ours = [link for link in self._links() if self._is_ours(str(link.get("master", "")))]
        return {name: f"ins-{match[1]}" for link in ours if (match := _TAP.match(name := str(link["ifname"])))}

    def span(self, segments: Sequence[SegmentSpan]) -> None:
        for each in segments:
            self._ensure_bridge(each.segment)
            vxlan.ensure(bridge_of(self._bridge, each.segment), each, self._namespace)
        wanted = {each.vni for each in segments}
        for vni, bridge in vxlan.links(self._namespace).items():
            if vni not in wanted and self._is_ours(bridge):
                vxlan.remove(vni, self._namespace)

    def guard(self, cards: Mapping[str, Sequence[Nic]]) -> None:
        if self._rules is not None:
            self._rules.apply(taps.plan(self._bridge, cards))

    def _is_ours(self, bridge: str) -> bool:
        name, dash, segment = bridge.rpartition("-")
        return bridge == self._bridge or (name == self._bridge and bool(dash) and segment.isdigit())

    def _ensure_bridge(self, segment: int) -> None:
        bridge = bridge_of(self._bridge, segment)
        link = self._link(bridge)
        if link is None:
            self._change("add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            link = self._link(bridge) or {}
        if link.get("linkinfo", {}).get("info_kind") != "bridge":
            raise Failed("network", f"{bridge} is not a bridge", "another link has that name")
        if "UP" not in link.get("flags", []):
            self._change("set", bridge, "up")
        if self._uplink and not segment:
            cards.attach(self._uplink, bridge, tuple(self._ip))

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

    def _links(self) -> list[dict[str, Any]]:
        found = run([*self._ip, "-json", "link", "show"], timeout_s=TIMEOUT_S, check=False)
        if found.code != 0:
            raise Failed("network", "The links of this host could not be read", found.stderr.decode("utf-8", "replace").strip())
        return [link for link in json.loads(found.stdout or b"[]") if link]

    def _change(self, *what: str) -> None:
        done = run([*self._ip, "link", *what], timeout_s=TIMEOUT_S, check=False)
        # somebody else made the same bridge at the same time: that is what was wanted
        if done.code != 0 and not (what[0] == "add" and b"File exists" in done.stderr):
            why = done.stderr.decode("utf-8", "replace").strip()
            raise Failed("network", f"The link {what[1]} could not be changed", why)
