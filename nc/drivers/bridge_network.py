"""Taps on the cluster's bridge of this node; never a libvirt network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luhyaapi.conf import bridge_for, bridge_of
from luhyaapi.contracts.specs import LinkFacts, Nic, SegmentSpan
from luhyaapi.contracts.vocabulary import SPANNING, NetworkMode
from luhyaapi.edge import connections, links, routes, vxlan
from luhyaapi.edge import uplink as cards
from luhyaapi.edge.base import RulesDriver
from luhyaapi.edge.dnsmasq import DnsmasqNetwork
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run
from nc.drivers import taps
from nc.drivers.base import NodeEdge, tap_name
from nc.drivers.taps import Here

TIMEOUT_S = 10.0
_TAP = re.compile("^t([0-9a-f]{8})[0-9a-f]{6}$")


class BridgeNetwork:
    """The taps are made by the hypervisor as the guest starts, under the name :meth:`plug` answered, and end with it.

    Every network has its bridge, that of the settings the plain name; ``uplink`` is a card of it. A bridge gets no address here unless
    its network ends at this node, which then serves its DHCP and remembers so in ``folder``: on one host it is the CC's, elsewhere a
    wire to it. ``namespace`` names a network namespace (``ip netns``); empty is our own. ``rules``: the packet rules of this host;
    None: nothing is guarded. ``campus``: the card of the campus network. ``here``: what this node knows of itself, asked each time.
    """

    def __init__(
        self, bridge: str, namespace: str = "", uplink: str = "", rules: RulesDriver | None = None, campus: str = "", folder: Path | None = None,
        here: Callable[[], Here] = Here,
    ) -> None:
        if not re.fullmatch("[a-z][a-z0-9._-]{0,14}", bridge):
            raise Refused("invalid", f"{bridge!r} cannot be the name of a bridge", "1 to 15 of a-z 0-9 . _ -")
        self._bridge, self._uplink, self._rules, self._here = bridge, uplink, rules, here
        self._campus, self._folder = campus, folder
        self._namespace = namespace
        self._ip = ["ip", *(["-n", namespace] if namespace else [])]

    def plug(self, instance: str, nic: Nic) -> str:
        if nic.mode is NetworkMode.CAMPUS and not self._campus:
            raise Refused("not_found", "This node is not in the campus network", "network.campus names no card",
                          hint="Give the node a card there and name it in network.campus.")
        if nic.mode is not NetworkMode.NODE:
            self._ensure_bridge(bridge_for(self._bridge, nic), self._campus if nic.mode is NetworkMode.CAMPUS else "" if nic.segment else self._uplink)
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
            self._ensure_bridge(bridge_of(self._bridge, each.segment))
            vxlan.ensure(bridge_of(self._bridge, each.segment), each, self._namespace)
        wanted = {each.vni for each in segments}
        for vni, bridge in vxlan.links(self._namespace).items():
            if vni not in wanted and self._is_ours(bridge):
                vxlan.remove(vni, self._namespace)

    def guard(self, edge: NodeEdge) -> None:
        wanted = taps.served(self._bridge, edge)
        if self._folder is not None:
            for network in wanted:
                DnsmasqNetwork(self._folder / network.bridge, network.bridge).apply(network)
        if self._rules is not None:
            self._rules.apply(taps.plan(self._bridge, edge, self._here()))
        if self._folder is not None and self._folder.is_dir():
            for gone in {each.name for each in self._folder.iterdir()} - {each.bridge for each in wanted}:
                DnsmasqNetwork(self._folder / gone, gone).down()

    def look(self, instance: str, nic: Nic, edge: NodeEdge, segments: Sequence[SegmentSpan]) -> tuple[LinkFacts, ...]:
        there, bridge = links.look(self._namespace), bridge_for(self._bridge, nic)
        ends_here, here = nic.mode is NetworkMode.NODE, self._here()
        checks: list[tuple[str, links.Check]] = [
            ("tap", lambda: links.tap(there, tap_name(instance, nic.mac), bridge)), ("bridge", lambda: links.bridge(there, bridge)),
        ]
        if ends_here:
            checks += links.gateways(there, bridge, nic.gateway, nic.subnet, nic.subnet6)
        rules = self._rules.found() if self._rules else None
        if self._rules:
            checks.append(("guards", lambda: links.guards(taps.plan(self._bridge, edge, here), rules)))
        if ends_here and self._folder is not None:
            server = DnsmasqNetwork(self._folder / bridge, bridge)
            checks.append(("dhcp", lambda: links.dhcp(server, nic.mac, nic.ip)))
        card = self._campus if nic.mode is NetworkMode.CAMPUS else "" if nic.segment or ends_here else self._uplink
        if card:
            checks.append(("wire", lambda: links.wire(there, card, bridge)))
        if nic.mode in SPANNING and nic.segment:
            told = next((each for each in segments if each.segment == nic.segment), None)
            checks.append(("span", lambda: links.span(bridge, told, self._namespace)))
        checks += links.answers(bridge, nic)
        if self._rules and nic.mode not in SPANNING:
            checks.append(("connections", lambda: links.connections(*connections.look())))
        if ends_here and nic.way_out:
            # a host that lost its way out still knows by which cards it had one
            known = here.uplinks or (rules.uplinks if rules else ())
            checks += [("uplink", lambda: links.uplinks(there, known)), ("route", lambda: links.route(routes.outside(self._namespace)))]
        return links.seen(nic.ip, checks)

    def _is_ours(self, bridge: str) -> bool:
        name, dash, segment = bridge.rpartition("-")
        return bridge == self._bridge or (name == self._bridge and bool(dash) and (segment.isdigit() or segment == "c"))

    def _ensure_bridge(self, bridge: str, card: str = "") -> None:
        link = self._link(bridge)
        if link is None:
            self._change("add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            link = self._link(bridge) or {}
        if link.get("linkinfo", {}).get("info_kind") != "bridge":
            raise Failed("network", f"{bridge} is not a bridge", "another link has that name")
        if "UP" not in link.get("flags", []):
            self._change("set", bridge, "up")
        if card:
            cards.attach(card, bridge, tuple(self._ip))

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
